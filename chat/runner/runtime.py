"""One worker process: its lease, its claims and its running calls, all on one event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from aily.concurrency.faults import note_fault, run_for_ever, surviving
from aily.concurrency.jobs import Job
from aily.database.errors import is_outage
from aily.database.outages import AWAY, is_away
from aily.database.threads import in_database
from aily.observability import context
from aily.redis.clients import close_async_clients
from aily.redis.errors import RedisUnavailable
from chat import eventlog, scheduler
from chat.eventlog import LogWriter
from chat.events import (
    LISTENERS_CHANNEL,
    TaskExpired,
    worker_channel,
)
from chat.llm.client import ProviderClient
from chat.models import Status, Task, flights, transitions
from chat.models.transitions import StartedTask
from chat.runner import lease, probing, recovery
from chat.runner.call import Stop
from chat.runner.calls import Calls
from chat.runner.listening import listen
from chat.runner.observing import observe_start
from chat.runner.pools import Pool, load_pools
from chat.runner.storage import PACE, Endings, until_stored
from chat.scheduler import Probe

logger = logging.getLogger(__name__)

#: Tasks taken at once: one transaction starts them all.
CLAIM_SIZE = 100
#: A pool is looked at this often even when nobody rings: covers lost doorbells.
POLL_SECONDS = 1.0
#: How often a lease is renewed before it would run out.
RENEWALS = 4
#: How often a draining worker looks whether its calls have ended.
DRAIN_POLL_SECONDS = 0.1
#: Time to store calls that are handed back, before the process ends.
HAND_BACK_SECONDS = 5.0


class Runtime(Calls):
    """Claims tasks while there is room and runs each as a coroutine."""

    def __init__(self, on_drained: Callable[[], None] = lambda: None) -> None:
        """`on_drained` is called when an operator has drained this worker and its calls ended."""
        super().__init__()
        self._pools: dict[str, Pool] = {}
        self._claiming: dict[str, Job] = {}
        #: Leases that this worker did not know of when it looked last, by pool.
        self._suspects: dict[str, set[str]] = {}
        self._is_stopping = False
        self._is_draining = False
        #: Claims under way that may bring tasks.
        self._open_claims = 0
        self._on_drained = on_drained
        #: Set to have the rows looked at now: models, and this worker's own.
        self._reload = asyncio.Event()
        #: False before the first lease, and from when one was found lost until there is a new one.
        self._has_lease = False

    def start(self) -> None:
        """Begin; must be called on the event loop."""
        self._client = ProviderClient()
        self._writer = LogWriter(settings.EVENT_LOG_TTL_SECONDS)
        self._jobs.spawn(self._writer.run())
        self._jobs.spawn(run_for_ever("life of a worker", self._live))

    @property
    def has_lease(self) -> bool:
        return self._has_lease

    @property
    def running_calls(self) -> int:
        return len(self._calls)

    # --- Lease ----------------------------------------------------------------------------------
    async def _live(self) -> None:
        """Hold a lease until it is taken away or the process stops. The caller starts over."""
        if self._is_stopping:
            await asyncio.sleep(HAND_BACK_SECONDS)
            return
        self._worker_id: UUID = await until_stored(
            lambda: lease.register(is_draining=self._is_draining)
        )
        context.name_worker(str(self._worker_id))
        self._endings = Endings(self._worker_id)
        self._has_lease = True
        logger.info("worker %s is ready", self._worker_id)
        beside = [
            self._jobs.spawn(run_for_ever("listening", self._listen)),
            self._jobs.spawn(run_for_ever("holding leases", self._hold)),
        ]
        try:
            await self._keep_lease()
        finally:
            self._has_lease = False
            for job in beside:
                job.cancel()
            for call in self._calls.values():
                call.stop(Stop.LOST)
        await self._forget_leases()

    async def _forget_leases(self) -> None:
        """Free what this life took of the upstream's capacity, some of it after its death."""
        try:
            await in_database(scheduler.drop_worker, str(self._worker_id), list(self._pools))
        except RedisUnavailable as error:
            logger.warning("forgetting leases: Redis is away (%s)", error)

    async def _keep_lease(self) -> None:
        """Renew until the lease is lost. An unreachable database loses nothing by itself: nobody
        else can take the lease away without it."""
        while await self._renew():
            self._reload.clear()
            for step in (
                self._reload_pools, self._check_drain, self._drop_taken_away, self._give_back
            ):  # fmt: skip
                with surviving("renewal"):
                    await step()
            await self._wait_for_renewal()
        if not self._is_stopping:
            logger.error("worker %s was declared dead: dropping its calls", self._worker_id)

    async def _wait_for_renewal(self) -> None:
        try:
            async with asyncio.timeout(settings.WORKER_LEASE_SECONDS / RENEWALS):
                await self._reload.wait()
        except TimeoutError:
            pass

    async def _check_drain(self) -> None:
        if self._is_draining or not await until_stored(lambda: lease.is_draining(self._worker_id)):
            return
        logger.info("worker %s drains: it claims nothing more", self._worker_id)
        self._is_draining = True
        self._jobs.spawn(self._finish_draining())

    async def _finish_draining(self) -> None:
        """Wait for the calls that are under way, however long they take, and say that all ended."""
        # A claim that was on its way before may still bring tasks.
        while self._open_claims or self._running:  # noqa: ASYNC110 - several things must end
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        logger.info("worker %s is drained", self._worker_id)
        self._on_drained()

    async def _renew(self) -> bool:
        """False once the lease is lost; whatever goes wrong is no reason to think so."""
        while True:
            with surviving("renewal"):
                return await until_stored(lambda: lease.renew(self._worker_id))
            await asyncio.sleep(POLL_SECONDS)

    async def _reload_pools(self) -> None:
        self._refresh_pools(await until_stored(load_pools))

    def _refresh_pools(self, pools: list[Pool]) -> None:
        self._pool_names = {pool.model_id: pool.name for pool in pools}
        for pool in self._pools.values():
            if self._pool_names.get(pool.model_id, pool.name) != pool.name:
                # The model has moved to another provider: calls of the old one end, none starts.
                pool.cap = 0
        for pool in pools:
            known = self._pools.setdefault(pool.name, pool)
            if known is not pool:
                known.model, known.cap = pool.model, pool.cap
                known.upstream_model, known.upstream = pool.upstream_model, pool.upstream
                was_held, known.is_held = known.is_held, pool.is_held
                if was_held and not known.is_held:
                    self.wake(pool.name)
            self._wakes.setdefault(pool.name, asyncio.Event())
            claiming = self._claiming.get(pool.name)
            if claiming is None or claiming.done():
                self._claiming[pool.name] = self._jobs.spawn(self._claim_for_ever(known))

    async def _drop_taken_away(self) -> None:
        ids = list(self._calls)
        for task_id in await until_stored(lambda: lease.taken_away(self._worker_id, ids)):
            self._cancelled(task_id)

    async def _give_back(self) -> None:
        """Send back what runs by its row alone, or holds but a lease, whatever has led to that."""
        worker_id, known = self._worker_id, [*self._calls, *self._starting]
        found = await until_stored(lambda: lease.stranded(worker_id, known))
        # Not what was started meanwhile; what also ended is no longer what was found.
        stranded = [one for one in found if not self._is_known(one[0])]
        if stranded:
            logger.error("%d tasks ran without a call: %s", len(stranded), stranded[:5])
            for pool in await until_stored(lambda: recovery.give_back(worker_id, stranded)):
                self.wake(pool)
        await self._release_unknown()

    async def _release_unknown(self) -> None:
        """Twice in a row, as the answer of a claim may be on its way."""
        known = {name: set(pool.released) | self._starting for name, pool in self._pools.items()}
        for task_id, call in self._calls.items():
            known.setdefault(call.pool.name, set()).add(task_id)
        try:
            unknown = await scheduler.unknown_slots(str(self._worker_id), known)
        except RedisUnavailable as error:
            logger.warning("looking at leases: Redis is away (%s)", error)
            return
        for name, task_ids in unknown.items():
            leaked = task_ids & self._suspects.get(name, set())
            leaked = {one for one in leaked if not self._is_known(one)}
            self._pools[name].released += leaked
        self._suspects = unknown

    async def _hold(self) -> None:
        """Have Redis count the calls that run for as long as they do. Not with the lease, nor with
        the claims alone: those wait while PostgreSQL is away, and the provider's calls go on."""
        await self._hold_leases()
        await asyncio.sleep(settings.WORKER_LEASE_SECONDS / RENEWALS)

    async def _hold_leases(self) -> None:
        worker_id, lease_seconds = str(self._worker_id), settings.WORKER_LEASE_SECONDS
        by_pool: dict[str, list[str]] = {}
        for task_id, call in self._calls.items():
            if not call.was_answered:
                by_pool.setdefault(call.pool.name, []).append(task_id)
        try:
            await scheduler.renew_worker(worker_id, self._pools, lease_seconds)
            for pool, ids in by_pool.items():
                await scheduler.restore_slots(pool, worker_id, ids, lease_seconds)
        except RedisUnavailable as error:
            logger.warning("Redis is away: %s", error)

    async def _listen(self) -> None:
        await listen(
            {
                worker_channel(str(self._worker_id)): self._cancelled,
                scheduler.DOORBELL: self.wake,
                scheduler.RELOAD: lambda _: self._reload.set(),
                LISTENERS_CHANNEL: self._listened_to,
            }
        )

    # --- Claims ---------------------------------------------------------------------------------
    async def _claim_for_ever(self, pool: Pool) -> None:
        await run_for_ever("claiming", lambda: self._claim_when_woken(pool))

    async def _claim_when_woken(self, pool: Pool) -> None:
        wake = self._wakes[pool.name]
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await wake.wait()
        except TimeoutError:
            pass
        wake.clear()
        began = time.monotonic()
        try:
            await self._claim(pool)
        except AWAY as error:
            if not is_away(error):
                raise
            logger.warning("claiming: a server is away (%s)", error)
            await asyncio.sleep(POLL_SECONDS)
        if not pool.has_waiting:
            # So that the next claim takes several tasks. Where tasks wait for capacity, what
            # gets free is taken at once.
            busy_seconds = time.monotonic() - began
            await asyncio.sleep(max(PACE.after(busy_seconds) - busy_seconds, 0))

    async def _claim(self, pool: Pool) -> None:
        may_claim = self._has_lease and not (self._is_stopping or self._is_draining or pool.is_held)
        room = settings.WORKER_MAX_CALLS - len(self._calls) if may_claim else 0
        want = max(min(room, CLAIM_SIZE), 0)
        self._open_claims += bool(want)
        try:
            await self._claim_up_to(pool, want)
        finally:
            self._open_claims -= bool(want)

    async def _claim_up_to(self, pool: Pool, want: int) -> None:
        claimed = await self._take(pool, want)
        if claimed.is_counting:
            await self._hold_leases()
        pool.has_waiting = claimed.left > 0
        if claimed.task_ids:
            await self._start_calls(pool, claimed.task_ids)
        elif claimed.may_probe and claimed.left and want:
            await self._probe(pool, only_fresh=claimed.may_probe == 1)
        if claimed.left and len(claimed.task_ids) == want and want:
            # There may be room for more, here and at the others.
            self.wake(pool.name)
            self._jobs.spawn(self._ring_others(pool.name))

    async def _take(self, pool: Pool, want: int, probe: Probe | None = None) -> scheduler.Claim:
        released, mean_seconds, succeeded, owners = pool.take_released()
        try:
            return await scheduler.claim(
                pool.name,
                str(self._worker_id),
                cap=pool.cap,
                want=want,
                lease_seconds=settings.WORKER_LEASE_SECONDS,
                released=released,
                mean_seconds=mean_seconds,
                succeeded=succeeded,
                owners=owners,
                probe=probe,
            )
        except BaseException:
            pool.released += released
            pool.succeeded += succeeded
            pool.owners |= owners
            raise

    async def _probe(self, pool: Pool, *, only_fresh: bool) -> None:
        """Let one task find out whether the provider is back."""
        probe = await probing.choose(pool, only_fresh=only_fresh)
        if probe is None:
            return
        claimed = await self._take(pool, 1, probe)
        if claimed.task_ids:
            logger.info("task %s probes %s", probe.task_id, pool.upstream.provider)
            await self._start_calls(pool, claimed.task_ids, is_probe=True)

    async def _ring_others(self, pool: str) -> None:
        try:
            await scheduler.ring(pool)
        except RedisUnavailable as error:
            logger.warning("ringing: Redis is away (%s)", error)

    async def _start_calls(
        self, pool: Pool, task_ids: list[str], *, is_probe: bool = False
    ) -> None:
        worker_id = self._worker_id
        self._starting.update(task_ids)
        try:
            started = await self._start(worker_id, pool, task_ids)
            for task in started:
                with surviving("starting a call"):
                    self._start_call(task, pool, is_probe=is_probe)
        finally:
            self._starting.difference_update(task_ids)
            not_started = [one for one in task_ids if not self._is_under_way(one)]
            pool.released += not_started
        with surviving("observing starts"):
            observe_start(pool, started)
        if not_started:
            await self._expire(not_started)
            if await until_stored(lambda: lease.is_held(worker_id)):
                if await self._put_back(pool, not_started):
                    # Staff paused or disabled the model a moment ago.
                    await self._reload_pools()
                self.wake(pool.name)
            else:
                # Unless it has a new one by now.
                self._has_lease = self._worker_id != worker_id
                await self._put_back(pool, not_started)

    async def _start(self, worker_id: UUID, pool: Pool, task_ids: list[str]) -> list[StartedTask]:
        """Have the rows of these run here. Where one cannot, it fails, and the others do."""
        is_alone = len(task_ids) == 1
        try:
            return await until_stored(
                lambda: transitions.start(worker_id, pool.model_id, task_ids),
                doubts=0 if is_alone else 1,
            )
        except Exception as error:
            is_refused = isinstance(error, DatabaseError) and not is_outage(error)
            if is_alone and not is_refused:
                raise
            note_fault("starting tasks")
        if is_alone:
            # It would be claimed again and again.
            await until_stored(lambda: recovery.fail_unstartable(task_ids))
            return []
        started = []
        for task_id in task_ids:
            with surviving("starting tasks"):
                started += await self._start(worker_id, pool, [task_id])
        return started

    async def _put_back(self, pool: Pool, task_ids: list[str]) -> bool:
        """Make ready again what was claimed and could not be started. What is lost here, the sweep
        finds. False where there is no such task."""
        queued = Task.objects.filter(
            pk__in=task_ids, status=Status.QUEUED, leader=None, model_id=pool.model_id
        )
        tasks = await until_stored(lambda: list(queued.only("lane", "owner_id", "weight")))
        entries = [
            scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight) for task in tasks
        ]
        if entries:
            await scheduler.aenqueue(pool.name, entries)
            await self._ring_others(pool.name)
        return bool(entries)

    async def _expire(self, task_ids: list[str]) -> None:
        expired, successors = await until_stored(lambda: flights.expire(task_ids))
        events = [
            (one.owner_id, TaskExpired(task_id=str(one.id), id=one.event_id)) for one in expired
        ]
        await in_database(eventlog.end_waiting, events, settings.EVENT_LOG_TTL_SECONDS)
        for successor in successors:
            self._requeue(successor, 0)

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
        with surviving("giving the lease up"):
            await in_database(lease.give_up, worker_id)
        try:
            with surviving("leaving"):
                await self._writer.flush()
            await in_database(scheduler.drop_worker, str(worker_id), list(self._pools))
            for pool in self._pools:
                await self._ring_others(pool)
        except RedisUnavailable as error:
            logger.warning("leaving: Redis is away (%s)", error)
        self._running.cancel()
        self._jobs.cancel()
        await self._client.aclose()
        await close_async_clients()
