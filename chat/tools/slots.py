"""The slots of tool servers that the calls of this process hold, all processes' caps together."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings

from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import close_with_loop, per_loop
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import ToolServer
from chat.scheduler import DeploymentKey
from chat.tools.results import NoSlotError

logger = logging.getLogger(__name__)

#: As often as workers check pools: within the time that Redis, once emptied, gives nothing out.
_RENEWAL_SECONDS = 1.0
#: Slots asked for or given back at once. Thousands of calls would wait in vain for one of the
#: process's connections to Redis, and take it for away.
_MAX_COMMANDS = 16
#: When to ask again while Redis is away.
_AWAY_RETRY_SECONDS = 1.0


class _Holder:
    """The slots of this process. They run out by themselves after its death."""

    def __init__(self) -> None:
        self._id = str(uuid.uuid4())
        #: Ids of the calls that run, by server; of a server until Redis is found to agree.
        self._held: dict[DeploymentKey, set[str]] = {}
        #: Slots without a call that were found the last time.
        self._suspects: dict[DeploymentKey, set[str]] = {}
        self._jobs = Jobs("slots of tools")
        self._commands = asyncio.Semaphore(_MAX_COMMANDS)

    async def take(self, server: ToolServer, call_id: str) -> None:
        """Take a slot of the server. Raises NoSlotError."""
        lease = settings.WORKER_LEASE_SECONDS
        cap = server.max_concurrent_calls
        try:
            async with self._commands:
                wait = await scheduler.take_slot(server.key, self._id, call_id, cap, lease)
        except RedisUnavailable as error:
            logger.warning("no slot of %s: Redis is away (%s)", server.name, error)
            wait = _AWAY_RETRY_SECONDS
        if wait is not None:
            raise NoSlotError(server.name, wait)
        self._held.setdefault(server.key, set()).add(call_id)
        if not self._jobs:
            self._jobs.spawn(self._renew())

    async def give_back(self, server: ToolServer, call_id: str) -> None:
        self._held[server.key].discard(call_id)
        try:
            async with self._commands:
                await scheduler.return_slot(server.key, self._id, call_id)
        except RedisUnavailable as error:
            # The next renewal gives it back.
            logger.warning("a slot of %s: Redis is away (%s)", server.name, error)

    async def _renew(self) -> None:
        """Have Redis count the calls that run, and no others, for as long as there are any."""
        while self._held:
            await asyncio.sleep(_RENEWAL_SECONDS)
            try:
                await self._renew_once()
            except RedisUnavailable as error:
                logger.warning("slots of tools: Redis is away (%s)", error)

    async def _renew_once(self) -> None:
        """Renew the slots that calls of this process hold. Raises RedisUnavailable."""
        lease = settings.WORKER_LEASE_SECONDS
        held = {key: set(calls) for key, calls in self._held.items()}
        await scheduler.renew_worker(self._id, held, lease)
        for key, calls in held.items():
            await scheduler.restore_slots(key, self._id, dict.fromkeys(calls, False), lease)
        unknown = await scheduler.unknown_slots(self._id, held)
        for key, found in unknown.items():
            # Only if found twice in a row: a reply may be on its way.
            for call_id in found & self._suspects.get(key, set()):
                if call_id not in self._held[key]:
                    await scheduler.return_slot(key, self._id, call_id)
        self._suspects = unknown
        for key in held.keys() - unknown.keys():
            if not self._held[key]:
                del self._held[key]

    async def aclose(self) -> None:
        self._jobs.cancel()
        await self._jobs.wait()


@per_loop
def _holder() -> _Holder:
    holder = _Holder()
    close_with_loop(holder.aclose)
    return holder


@asynccontextmanager
async def slot(server: ToolServer, call_id: str) -> AsyncIterator[None]:
    """Hold a slot of a server for a call. Raises NoSlotError where all are in use."""
    holder = _holder()
    await holder.take(server, call_id)
    try:
        yield
    finally:
        # Also where the call is cancelled: then nobody else would give it back for a while.
        await asyncio.shield(holder.give_back(server, call_id))
