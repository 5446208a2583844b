"""One worker process: its lease, its claims and its running calls, all on one event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from uuid import UUID

from django.conf import settings

from aily.database import in_database
from aily.jobs import Jobs
from aily.observability import context, tracing
from aily.redis import RedisAway, async_redis, heard, subscriber_redis
from chat import eventlog, scheduler
from chat.eventlog import LogWriter
from chat.events import LISTENERS_CHANNEL, TaskExpired, TaskQueued, worker_channel
from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError, RateLimitError
from chat.models import Status, Task, flights, transitions
from chat.models.flights import Successor
from chat.models.transitions import StartedTask
from chat.runner import lease
from chat.runner.call import Call, Stop
from chat.runner.observing import observe_call, observe_start, trace_call, trace_wait
from chat.runner.pools import Pool, load_pools
from chat.runner.storage import PACE, Endings, until_stored

logger = logging.getLogger(__name__)

#: Tasks taken at once: one transaction starts them all.
CLAIM_SIZE = 100
#: A pool is looked at this often even when nobody rings: covers lost doorbells.
POLL_SECONDS = 1.0
#: How often a lease is renewed before it would run out.
RENEWALS = 4
#: Time to store calls that are handed back, before the process ends.
HAND_BACK_SECONDS = 5.0


class Runtime:
    """Claims tasks while there is room and runs each as a coroutine."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._calls: dict[str, Call] = {}
        #: Calls, and what of them is being handed back: the process waits for their ends.
        self._running = Jobs("a call")
        #: Claimed, and not yet among the calls; a cancel takes them out.
        self._starting: set[str] = set()
        self._jobs = Jobs("a job of the worker")
        self._is_stopping = False
        #: False before the first lease, and from when one was found lost until there is a new one.
        self._has_lease = False

    def start(self) -> None:
        """Begin; must be called on the event loop."""
        self._client = ProviderClient()
        self._writer = LogWriter(settings.EVENT_LOG_TTL_SECONDS)
        self._jobs.spawn(self._writer.run())
        self._jobs.spawn(self._live())

    @property
    def has_lease(self) -> bool:
        return self._has_lease

    @property
    def running_calls(self) -> int:
        return len(self._calls)

    def wake(self, pool: str) -> None:
        """Look for work in `pool` now."""
        if pool in self._wakes:
            self._wakes[pool].set()

    # --- Lease ----------------------------------------------------------------------------------
    async def _live(self) -> None:
        """Hold a lease for as long as the process lives; start over when it is taken away."""
        while not self._is_stopping:
            self._worker_id: UUID = await until_stored(lease.register)
            context.name_worker(str(self._worker_id))
            self._endings = Endings(self._worker_id)
            self._has_lease = True
            logger.info("worker %s is ready", self._worker_id)
            listener = self._jobs.spawn(self._listen())
            holder = self._jobs.spawn(self._hold_for_ever())
            await self._keep_lease()
            self._has_lease = False
            listener.cancel()
            holder.cancel()
            for call in self._calls.values():
                call.stop(Stop.LOST)
            await self._forget_leases()

    async def _forget_leases(self) -> None:
        """Free what this life took of the upstream's capacity, some of it after its death."""
        try:
            await in_database(scheduler.forget_worker, str(self._worker_id), list(self._pools))
        except RedisAway as error:
            logger.warning("forgetting leases: Redis is away (%s)", error)

    async def _keep_lease(self) -> None:
        """Renew until the lease is lost. An unreachable database loses nothing by itself: nobody
        else can take the lease away without it."""
        while await until_stored(lambda: lease.renew(self._worker_id)):
            self._refresh_pools(await until_stored(load_pools))
            await self._drop_taken_away()
            await asyncio.sleep(settings.WORKER_LEASE_SECONDS / RENEWALS)
        if not self._is_stopping:
            logger.error("worker %s was declared dead: dropping its calls", self._worker_id)

    def _refresh_pools(self, pools: list[Pool]) -> None:
        for pool in pools:
            known = self._pools.get(pool.name)
            if known is not None:
                known.model, known.cap = pool.model, pool.cap
                known.upstream_model, known.upstream = pool.upstream_model, pool.upstream
                continue
            self._pools[pool.name] = pool
            self._wakes[pool.name] = asyncio.Event()
            self._jobs.spawn(self._claim_for_ever(pool))

    async def _drop_taken_away(self) -> None:
        ids = list(self._calls)
        for task_id in await until_stored(lambda: lease.taken_away(self._worker_id, ids)):
            self._cancelled(task_id)

    async def _hold_for_ever(self) -> None:
        """Have Redis count the calls that run for as long as they do. Not with the lease, nor with
        the claims alone: those wait while PostgreSQL is away, and the provider's calls go on."""
        while True:
            await self._hold_leases()
            await asyncio.sleep(settings.WORKER_LEASE_SECONDS / RENEWALS)

    async def _hold_leases(self) -> None:
        worker_id = str(self._worker_id)
        by_pool: dict[str, list[str]] = {}
        for task_id, call in self._calls.items():
            if not call.was_answered:
                by_pool.setdefault(call.pool.name, []).append(task_id)
        try:
            await scheduler.stand(worker_id, by_pool, settings.WORKER_LEASE_SECONDS)
            for pool, ids in by_pool.items():
                await scheduler.hold(pool, worker_id, ids)
        except RedisAway as error:
            logger.warning("Redis is away: %s", error)

    async def _listen(self) -> None:
        """Hear of new work, of cancelled tasks, and of text that is listened to. What is missed
        here, the poll and the renewal find, and text comes a little later."""
        while True:
            try:
                client = subscriber_redis()
                async with client, client.pubsub() as pubsub:
                    cancels = worker_channel(str(self._worker_id))
                    await pubsub.subscribe(cancels, scheduler.DOORBELL, LISTENERS_CHANNEL)
                    async for message in heard(pubsub):
                        if message.kind != "message":
                            continue
                        subject = message.data.decode()
                        channel = message.channel.decode()
                        if channel == cancels:
                            self._cancelled(subject)
                        elif channel == LISTENERS_CHANNEL:
                            self._listened_to(subject)
                        else:
                            self.wake(subject)
            except RedisAway as error:
                logger.warning("listening: Redis is away (%s)", error)
            await asyncio.sleep(1)

    def _cancelled(self, task_id: str) -> None:
        self._starting.discard(task_id)
        if task_id in self._calls:
            self._calls[task_id].stop(Stop.CANCELLED)

    def _listened_to(self, task_id: str) -> None:
        if task_id in self._calls:
            self._calls[task_id].listened_to()

    # --- Claims ---------------------------------------------------------------------------------
    async def _claim_for_ever(self, pool: Pool) -> None:
        wake = self._wakes[pool.name]
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()
            began = time.monotonic()
            try:
                await self._claim(pool)
            except RedisAway as error:
                logger.warning("claiming: Redis is away (%s)", error)
                await asyncio.sleep(POLL_SECONDS)
            if not pool.has_waiting:
                # So that the next claim takes several tasks. Where tasks wait for capacity, what
                # gets free is taken at once.
                busy_seconds = time.monotonic() - began
                await asyncio.sleep(max(PACE.after(busy_seconds) - busy_seconds, 0))

    async def _claim(self, pool: Pool) -> None:
        may_claim = self._has_lease and not self._is_stopping
        room = settings.WORKER_MAX_CALLS - len(self._calls) if may_claim else 0
        want = max(min(room, CLAIM_SIZE), 0)
        released, mean_seconds, succeeded = pool.take_released()
        try:
            claimed = await scheduler.claim(
                pool.name,
                str(self._worker_id),
                cap=pool.cap,
                want=want,
                lease_seconds=settings.WORKER_LEASE_SECONDS,
                provider=pool.upstream.provider,
                released=released,
                mean_seconds=mean_seconds,
                succeeded=succeeded,
            )
        except RedisAway:
            pool.released += released
            raise
        if claimed.is_counting:
            await self._hold_leases()
        pool.has_waiting = claimed.left > 0
        if claimed.task_ids:
            await self._start_calls(pool, claimed.task_ids)
        if claimed.left and len(claimed.task_ids) == want and want:
            # There may be room for more, here and at the others.
            self.wake(pool.name)
            self._jobs.spawn(self._ring_others(pool.name))

    async def _ring_others(self, pool: str) -> None:
        try:
            await scheduler.ring(pool)
        except RedisAway as error:
            logger.warning("ringing: Redis is away (%s)", error)

    async def _start_calls(self, pool: Pool, task_ids: list[str]) -> None:
        worker_id = self._worker_id
        self._starting.update(task_ids)
        started = await until_stored(lambda: transitions.start(worker_id, int(pool.name), task_ids))
        observe_start(pool, started)
        for task in started:
            call = Call(task, pool, self._client, self._writer, self._endings, self._requeue)
            self._calls[call.task_id] = call
            # Cancelled after it was started, before we knew.
            if call.task_id not in self._starting:
                call.stop(Stop.CANCELLED)
            self._running.spawn(self._run(call, pool))
        self._starting.difference_update(task_ids)
        not_started = set(task_ids) - {str(task.id) for task in started}
        not_started = {task_id for task_id in not_started if not self._is_under_way(task_id)}
        if not_started:
            pool.released += not_started
            await self._expire(list(not_started))
            if await until_stored(lambda: lease.is_held(worker_id)):
                self.wake(pool.name)
            else:
                # Unless it has a new one by now.
                self._has_lease = self._worker_id != worker_id
                await self._put_back(pool, list(not_started))

    def _is_under_way(self, task_id: str) -> bool:
        """Whether a call of this process goes on under the lease of this task.

        A task that the sweep put back between its claim and its start can be claimed once more.
        There is one lease all the same, and the call needs it.
        """
        call = self._calls.get(task_id)
        return call is not None and not call.was_answered

    async def _put_back(self, pool: Pool, task_ids: list[str]) -> None:
        """Leave to others what was claimed without a lease. What is lost here, the sweep finds."""
        queued = Task.objects.filter(pk__in=task_ids, status=Status.QUEUED)
        tasks = await until_stored(lambda: list(queued.only("lane", "owner_id", "weight")))
        entries = [
            scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight) for task in tasks
        ]
        if entries:
            await scheduler.aenqueue(pool.name, entries)
            await self._ring_others(pool.name)

    async def _expire(self, task_ids: list[str]) -> None:
        expired, successors = await until_stored(lambda: flights.expire(task_ids))
        events = [
            (one.owner_id, TaskExpired(task_id=str(one.id), id=one.event_id)) for one in expired
        ]
        await in_database(eventlog.end_waiting, events, settings.EVENT_LOG_TTL_SECONDS)
        for successor in successors:
            self._requeue(successor, 0)

    # --- Calls ----------------------------------------------------------------------------------
    async def _run(self, call: Call, pool: Pool) -> None:
        task_id, began = call.task_id, time.monotonic()
        context.task_id.set(task_id)
        logger.debug("attempt %d starts", call.task.attempt)
        try:
            traceparent = await trace_wait(call)
            with trace_call(call, traceparent) as span:
                await call.ask()
                observe_call(call, time.monotonic() - began, span)
            if call.was_answered:
                # Now, not when the end is stored: the provider has room again.
                pool.succeeded += 1
                self._release(pool, task_id, began)
            with tracing.span("store", parent=traceparent):
                await call.end()
            logger.debug("attempt %d ended: %s", call.task.attempt, call.outcome)
        finally:
            if self._calls.get(task_id) is call:
                del self._calls[task_id]
            if not call.was_answered:
                if call.error is not None and call.error.is_outage:
                    # While the lease is still held, so that its room is not claimed too early.
                    await self._report_failure(pool, task_id, call.error)
                self._release(pool, task_id, began)

    def _release(self, pool: Pool, task_id: str, began: float) -> None:
        pool.released.append(task_id)
        pool.seconds.append(time.monotonic() - began)
        # With nobody waiting, the lease is given back with the next claim.
        if pool.has_waiting:
            self.wake(pool.name)

    async def _report_failure(self, pool: Pool, task_id: str, error: ProviderError) -> None:
        try:
            await scheduler.report_failure(
                pool.name,
                pool.upstream.provider,
                task_id,
                cap=pool.cap,
                is_throttled=isinstance(error, RateLimitError),
                retry_after_seconds=error.retry_after_seconds,
            )
        except RedisAway as away:
            logger.warning("reporting a failure: Redis is away (%s)", away)

    def _requeue(self, task: StartedTask | Successor, seconds: float) -> None:
        # Without a pause it is handed back: the process waits for it like for the call itself.
        jobs = self._jobs if seconds else self._running
        jobs.spawn(self._requeue_after(task, seconds))

    async def _requeue_after(self, task: StartedTask | Successor, seconds: float) -> None:
        """Make a task ready again. If this process dies before, the sweep does it."""
        entry = scheduler.Entry(str(task.id), task.lane, task.owner_id, task.weight)
        pool = str(task.model_id)
        try:
            if seconds:
                notice = TaskQueued(task_id=entry.task_id, position=None, eta_seconds=seconds)
                await in_database(eventlog.notify, task.owner_id, notice)
                await asyncio.sleep(seconds)
            await scheduler.aenqueue(pool, [entry])
            self.wake(pool)
        except RedisAway as error:
            logger.warning("requeueing: Redis is away (%s); the sweep will do it", error)

    # --- Stopping -------------------------------------------------------------------------------
    async def stop(self) -> None:
        """Claim nothing more, let calls end within the grace time, hand the rest back."""
        self._is_stopping = True
        if not self._has_lease:
            # Never had one, or lost it: nothing is running, and there is nothing to leave behind.
            return
        await self._calls_ended(settings.WORKER_GRACE_SECONDS)
        logger.info("handing back %d calls", len(self._calls))
        for call in list(self._calls.values()):
            call.stop(Stop.HANDED_BACK)
        await self._calls_ended(HAND_BACK_SECONDS)
        await self._leave()

    async def _calls_ended(self, timeout_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while self._running and (left := deadline - loop.time()) > 0:
            await self._running.wait(left)

    async def _leave(self) -> None:
        worker_id = self._worker_id
        await in_database(lease.give_up, worker_id)
        try:
            await self._writer.flush()
            await in_database(scheduler.forget_worker, str(worker_id), list(self._pools))
            for pool in self._pools:
                await self._ring_others(pool)
        except RedisAway as error:
            logger.warning("leaving: Redis is away (%s)", error)
        self._running.cancel()
        self._jobs.cancel()
        await self._client.aclose()
        await async_redis().aclose()
