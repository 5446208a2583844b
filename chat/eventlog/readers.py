"""Feeds for readers who may read something only as long as it is granted to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aily.web.grant_changes import grant_watches
from chat.eventlog.feeds import Feed
from chat.eventlog.hub import get_hub


@asynccontextmanager
async def reader_feed(channel: str, user_id: int) -> AsyncIterator[Feed]:
    """A feed of the notices that something has changed. Its follower also looks again when a grant
    or a role was taken from the user."""
    async with get_hub().change_feed(channel) as feed:
        with grant_watches().watching(user_id, feed.recheck):
            yield feed
