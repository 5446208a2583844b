"""Which task a running call has made, so that any process can cancel it.

Before 2026-07-28 a client cancels a call by a request of its own, which may arrive in another
process. It names the call by its id, which is unique within a session only; clients without a
session share those of their API key.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from aily.problems import NotFound
from aily.redis.clients import async_redis
from aily.redis.errors import RedisUnavailable
from chat.mcp_server.keys import call_key
from chat.services.cancel import cancel_row

logger = logging.getLogger(__name__)

#: In place of a task id: the call was cancelled before its task was accepted.
_CANCELLED = b"cancelled"
#: For how long a cancellation is kept whose call is not known yet.
_EARLY_SECONDS = 10


class CallId(NamedTuple):
    """Names a call of a legacy client."""

    api_key_id: int
    #: Empty: the client keeps no session.
    session: str
    request_id: int | str

    @property
    def redis_key(self) -> str:
        # Hashed: both are the client's, and may have any length.
        parts = json.dumps([self.session, self.request_id]).encode()
        digest = hashlib.blake2b(parts, digest_size=16).hexdigest()
        return call_key(self.api_key_id, digest)


async def note_call(call: CallId, owner_id: int, task_id: str) -> None:
    """Remember the task of a call. Cancels it if the client has cancelled the call already."""
    seconds = int(settings.MCP_WAIT_SECONDS) + _EARLY_SECONDS
    try:
        before = await async_redis().set(call.redis_key, task_id, ex=seconds, get=True)
    except RedisUnavailable as error:
        logger.warning("task %s: a cancelled call would not find it (%s)", task_id, error)
        return
    if before == _CANCELLED:
        await cancel_row(owner_id, UUID(task_id))


async def forget_call(call: CallId) -> None:
    """Note that a call was answered."""
    try:
        await async_redis().delete(call.redis_key)
    except RedisUnavailable as error:
        logger.debug("a call is remembered until it expires: %s", error)


async def cancel_call(call: CallId, owner_id: int) -> None:
    """Cancel the task of a call, in whatever process it waits. Raises RedisUnavailable."""
    client = async_redis()
    if call.session:
        # One step: the task may be accepted at this very moment.
        found = await client.set(call.redis_key, _CANCELLED, ex=_EARLY_SECONDS, nx=True, get=True)
    else:
        # Another client of the same key may use the same id next: nothing is left for it.
        found = await client.get(call.redis_key)
    if found is None or found == _CANCELLED:
        return
    try:
        await cancel_row(owner_id, UUID(found.decode()))
    except NotFound:
        logger.debug("a cancelled call's task was deleted")
