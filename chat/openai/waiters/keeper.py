"""The waiting requests of one process, kept in Redis; cancels tasks that no client awaits."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings

from aily.concurrency.faults import is_cancelled, surviving
from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import close_with_loop, per_loop
from aily.database.outages import AWAY
from aily.problems import NotFound
from aily.redis.errors import RedisUnavailable
from chat.observability import metrics
from chat.openai.waiters import registry
from chat.openai.waiters.registry import DEAD_SECONDS, SILENT_SECONDS, Waiter
from chat.services.cancel import cancel_row

logger = logging.getLogger(__name__)

#: Between two heartbeats. A request that waits for less is not written to Redis at all.
BEAT_SECONDS = 0.5
#: How long a repeated request looks for the one that it repeats, where an equal one still waits:
#: its end may be noticed late, or its process may be dead.
SEARCH_SECONDS = SILENT_SECONDS + 2 * BEAT_SECONDS
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class _Held:
    waiter: Waiter
    is_written: bool = False


@dataclass(slots=True, eq=False)
class Keeper:
    """One a process. It runs while requests wait, and until the last dropped ones are settled."""

    process: str = field(default_factory=lambda: secrets.token_hex(8))
    _held: dict[UUID, _Held] = field(default_factory=dict)
    #: Those that ended since the last heartbeat, which an earlier one has written.
    _ended: list[Waiter] = field(default_factory=list)
    _jobs: Jobs = field(default_factory=lambda: Jobs("a dropped request"))
    _beating: asyncio.Task[None] | None = None
    #: Until when heartbeats go on without waiting requests (the loop's time).
    _busy_until: float = 0.0

    #: Writes to Redis follow each other: what ended must not be noted as waiting after that.
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- The life of a request ------------------------------------------------------------------
    def hold(self, waiter: Waiter) -> None:
        """Note that a request begins to wait."""
        self._held[waiter.task_id] = _Held(waiter)
        self._run()

    def release(self, waiter: Waiter) -> None:
        """Note that it was answered."""
        held = self._held.pop(waiter.task_id, None)
        if held is not None and held.is_written:
            self._ended.append(waiter)

    async def drop(self, waiter: Waiter, grace_seconds: float) -> None:
        """Note that its client is gone. Unless it is repeated in time, its task is cancelled."""
        held = self._held.pop(waiter.task_id, None)
        if held is None:
            return
        metrics.REQUESTS_DROPPED.inc()
        busy_until = asyncio.get_running_loop().time() + grace_seconds + DEAD_SECONDS
        self._busy_until = max(self._busy_until, busy_until)
        self._run()
        try:
            async with self._telling:
                is_noted = await registry.drop(
                    waiter,
                    self.process,
                    is_written=held.is_written,
                    grace_seconds=grace_seconds,
                )
        except RedisUnavailable as error:
            logger.warning("dropping %s: Redis is away (%s)", waiter.task_id, error)
            is_noted = False
        if not is_noted:
            await self._cancel(waiter)

    async def attach(self, fingerprint: str) -> Waiter | None:
        """Return the dropped request that an equal one repeats, which waits here from now on.

        None if there is none. Where an equal one still waits, this waits for a moment as well.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                found = await registry.attach(fingerprint, self.process)
            except RedisUnavailable:
                return None
            if isinstance(found, Waiter):
                metrics.REQUESTS_FOUND_AGAIN.inc()
                self._held[found.task_id] = _Held(found, is_written=True)
                self._run()
                return found
            waited = loop.time() - began
            if found is None or waited > SEARCH_SECONDS:
                return None
            # All of them have given a heartbeat long after this began: the requests wait indeed.
            if waited > found + BEAT_SECONDS:
                return None
            await asyncio.sleep(_POLL_SECONDS)

    # --- Heartbeats -----------------------------------------------------------------------------
    def _run(self) -> None:
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat_while_needed())

    async def _beat_while_needed(self) -> None:
        # A cancellation may get lost in the Redis client.
        while not is_cancelled() and (self._held or self._ended or self._is_busy()):
            await asyncio.sleep(BEAT_SECONDS)
            with surviving("waiting requests"):
                await self._beat()

    def _is_busy(self) -> bool:
        return asyncio.get_running_loop().time() < self._busy_until

    async def _beat(self) -> None:
        async with self._telling:
            began = [held for held in self._held.values() if not held.is_written]
            # One that was repeated in this process waits again.
            ended = [waiter for waiter in self._ended if waiter.task_id not in self._held]
            self._ended = []
            waiters = [held.waiter for held in began]
            grace: float = settings.DROPPED_REQUEST_SECONDS
            try:
                found = await registry.beat(self.process, waiters, ended, grace)
            except RedisUnavailable as error:
                logger.debug("waiting requests: Redis is away (%s)", error)
                self._ended = [*ended, *self._ended]
                return
        if not found.is_known:
            # Redis is new, has lost its memory, or took this process for dead.
            for held in self._held.values():
                held.is_written = False
        for held in began:
            held.is_written = True
            if self._held.get(held.waiter.task_id) is not held:
                # It was answered meanwhile.
                self._ended.append(held.waiter)
        for waiter in found.due:
            self._jobs.spawn(self._cancel(waiter))

    async def _cancel(self, waiter: Waiter) -> None:
        logger.info("task %s is cancelled: no client waits for it", waiter.task_id)
        try:
            await cancel_row(waiter.owner_id, waiter.task_id)
            metrics.REQUESTS_CANCELLED.inc()
        except NotFound:
            logger.debug("task %s was deleted", waiter.task_id)
        except AWAY as error:
            logger.warning("cancelling %s: a server is away (%s)", waiter.task_id, error)
            # Another process may do it, or this one later.
            with suppress(*RedisUnavailable):
                await registry.drop(
                    waiter, self.process, is_written=False, grace_seconds=DEAD_SECONDS
                )

    async def aclose(self) -> None:
        """End its own work; what it has written to Redis stays, for other processes."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        self._jobs.cancel()
        await self._jobs.wait()


@per_loop
def get_keeper() -> Keeper:
    """The running loop's keeper, which is closed with it."""
    made = Keeper()
    close_with_loop(made.aclose)
    return made
