"""How far an import or export is, for those who watch: from its one row, at most twice a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar
from uuid import UUID

import msgspec

from aily.database.threads import in_database
from chat.eventlog import get_hub
from chat.eventlog.keys import run_channel
from chat.tables.models.transfers import ENDED_TRANSFERS, Transfer

#: Between two looks at the row.
MIN_SECONDS = 0.5
#: Without news the row is looked at all the same: a notice may be lost.
MAX_SECONDS = 5.0

T = TypeVar("T", bound=Transfer)
F = TypeVar("F", bound=msgspec.Struct)


async def follow(
    transfer_id: UUID, load: Callable[[], T], progress_of: Callable[[T], F]
) -> AsyncGenerator[F]:
    """Give the progress now and whenever it has changed, until the transfer has ended.

    `load` reads its row, and raises NotFound without one.
    """
    loop = asyncio.get_running_loop()
    async with get_hub().change_feed(run_channel(str(transfer_id))) as feed:
        last: F | None = None
        while True:
            looked_at = loop.time()
            feed.clear_lag()
            job = await in_database(load)
            progress = progress_of(job)
            if progress != last:
                yield progress
                last = progress
            if job.state in ENDED_TRANSFERS:
                return
            await feed.next(MAX_SECONDS)
            await asyncio.sleep(max(looked_at + MIN_SECONDS - loop.time(), 0))
            feed.clear()
