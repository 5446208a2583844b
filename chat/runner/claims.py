"""Claims: takes tasks from the queue while there is room, and starts their calls."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from aily.concurrency.batching import Pace
from aily.concurrency.faults import note_fault, run_for_ever, surviving
from aily.concurrency.jobs import Job, Jobs
from aily.database.errors import is_outage
from aily.database.outages import AWAY, is_away
from aily.database.threads import in_database
from aily.redis.errors import RedisUnavailable
from chat import eventlog, scheduler
from chat.events import TaskExpired
from chat.models import Lane, Status, Task, flights, transitions
from chat.models.transitions import Route, StartedTask
from chat.runner import lease, probing, recovery
from chat.runner.calls import END_SECONDS, Calls
from chat.runner.cpu_share import CpuShare
from chat.runner.lease import HeldLease
from chat.runner.observing import observe_start
from chat.runner.pools import Deployment, Pool, Pools
from chat.runner.slots import Slots
from chat.runner.storage import PACE, retry_until_database_returns
from chat.runner.upstreams import load_pools
from chat.scheduler import Probe

logger = logging.getLogger(__name__)

#: Tasks taken at once: one transaction starts them all.
CLAIM_SIZE = 100
#: Calls of tasks of lane batch that begin in one step of the event loop.
BULK_STARTS = 8
#: A worker with fewer calls and room in its memory, that uses less of a processor, takes all tasks
#: that come, and others are not woken: few large batches cost less than many small ones. Should it
#: die, no more than these calls are lost with it.
FEW_CALLS = 256
SPARE_CPU_SHARE = 0.5
#: Of the claims of that worker: no other one could take what comes meanwhile, and the submits that
#: it is rung for keep their own pace.
PREFERRED_PACE = Pace(min_seconds=0.01, max_seconds=0.01)
#: How often a pool is checked even without a ring, in case one was lost.
POLL_SECONDS = 1.0
#: How often a claim is made for a pool at rest that no look has woken.
REST_SECONDS = 60.0


class Claimer:
    """Claims for all pools of a worker, each by a job of its own."""

    def __init__(self, pools: Pools, calls: Calls, slots: Slots, held: HeldLease) -> None:
        self._pools = pools
        self._calls = calls
        self._slots = slots
        self._held = held
        self._is_stopping = False
        self._cpu = CpuShare()
        #: Claims under way that may bring tasks.
        self._open_claims = 0
        self._claiming: dict[str, Job] = {}
        self._looking: Job | None = None
        self._jobs = Jobs("claiming")

    def begin(self) -> None:
        """Claim for every pool that no job claims for yet."""
        for pool in self._pools:
            job = self._claiming.get(pool.name)
            if job is None or job.done():
                self._claiming[pool.name] = self._jobs.spawn(self._claim_for_ever(pool))
        if self._looking is None or self._looking.done():
            self._looking = self._jobs.spawn(run_for_ever("claiming", self._look))

    def stop(self) -> None:
        """Claim nothing more. Slots of calls that have ended are still given back."""
        self._is_stopping = True

    @property
    def may_bring_tasks(self) -> bool:
        """Whether a claim is under way that began before `stop`."""
        return self._open_claims > 0

    async def aclose(self) -> None:
        """End all claiming, and return once it has ended."""
        self._jobs.cancel()
        await self._jobs.wait(END_SECONDS)

    # --- Claiming -------------------------------------------------------------------------------
    async def _look(self) -> None:
        """Wake the pools at rest that have work whose ring was lost. One round trip for all: a
        claim of each would take 0.2 ms a second of this process."""
        await asyncio.sleep(POLL_SECONDS)
        at_rest = [pool.name for pool in self._pools if pool.is_at_rest]
        if at_rest and self._held.is_held:
            # While Redis is away nothing can be claimed either.
            with suppress(*RedisUnavailable):
                for name in await scheduler.with_work(at_rest):
                    self._pools.wake(name)

    async def _claim_for_ever(self, pool: Pool) -> None:
        await run_for_ever("claiming", lambda: self._claim_when_woken(pool))

    async def _claim_when_woken(self, pool: Pool) -> None:
        try:
            async with asyncio.timeout(_wait_seconds(pool)):
                await pool.woken.wait()
        except TimeoutError:
            pass
        pool.woken.clear()
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
            await self._pause(pool, busy_seconds)

    async def _pause(self, pool: Pool, busy_seconds: float) -> None:
        """Let a pool rest after a claim that took so long.

        What a ring announces does not wait because of tasks of lane batch, those that a feeder
        submits together come with one ring: it waits as after a claim of the other tasks alone.
        """
        pace = PREFERRED_PACE if pool.is_preferred else PACE
        rest = pace.after(busy_seconds) - busy_seconds
        least = 0.0
        if pool.started_for_people:
            share = pool.started_for_people / pool.started
            least = max(pace.after(busy_seconds * share) - busy_seconds, 0.0)
        await asyncio.sleep(least)
        if rest > least:
            try:
                async with asyncio.timeout(rest - least):
                    await pool.woken.wait()
            except TimeoutError:
                pass

    async def _claim(self, pool: Pool) -> None:
        may_claim = self._held.is_held and not (self._is_stopping or pool.is_held)
        room = settings.WORKER_MAX_CALLS - len(self._calls) if may_claim else 0
        limit = max(min(room, CLAIM_SIZE), 0)
        self._open_claims += limit > 0
        try:
            await self._claim_up_to(pool, limit)
        finally:
            self._open_claims -= limit > 0

    async def _claim_up_to(self, pool: Pool, limit: int) -> None:
        is_rung_alone, pool.is_rung_alone = pool.is_rung_alone, False
        claimed = await self._take(pool, limit)
        if claimed.is_counting:
            await self._slots.renew()
        task_ids = claimed.task_ids
        if task_ids:
            await self._start_taken(pool, claimed)
        elif claimed.left and limit:
            await self._probe_first(pool, claimed.may_probe)
        is_cut_short = claimed.left > 0 and len(task_ids) == limit and limit > 0
        if is_cut_short:
            # There may be room for more, here and at other workers.
            pool.woken.set()
        if is_cut_short or (claimed.left and is_rung_alone):
            # Also those without room are to know what waits: calls of theirs may end first.
            self._jobs.spawn(ring(pool.name))

    async def _take(self, pool: Pool, limit: int, probe: Probe | None = None) -> scheduler.Claim:
        """Claim up to `limit` tasks, and give back the slots of calls that have ended."""
        ended = [(deployment, deployment.take_ended()) for deployment in pool.deployments.values()]
        may_be_preferred = limit > 0 and self._has_room_to_spare()
        for deployment, _ in ended:
            deployment.is_claiming = True
        try:
            claimed = await scheduler.claim(
                pool.name,
                str(self._held.worker_id),
                [deployment.claim(calls) for deployment, calls in ended],
                want=limit,
                lease_seconds=settings.WORKER_LEASE_SECONDS,
                probe=probe,
                may_be_preferred=may_be_preferred,
            )
        except BaseException:
            pool.is_at_rest = False
            for deployment, calls in ended:
                deployment.put_back(calls)
            raise
        else:
            pool.note_claim(claimed)
            if claimed.task_ids or claimed.left or not may_be_preferred:
                pool.is_preferred = may_be_preferred and not claimed.left
            return claimed
        finally:
            for deployment, _ in ended:
                deployment.is_claiming = False

    def _has_room_to_spare(self) -> bool:
        return (
            len(self._calls) < FEW_CALLS
            and not self._calls.memory.is_full
            and self._cpu.read() < SPARE_CPU_SHARE
        )

    async def _probe_first(self, pool: Pool, may_probe: Mapping[str, int]) -> None:
        """Probe one of these deployments, by name; 1 of those that only a fresh task may probe."""
        for name, kind in may_probe.items():
            if (deployment := pool.deployments.get(name)) is not None:
                await self._probe(pool, deployment, only_fresh=kind == 1)
                return

    async def _probe(self, pool: Pool, deployment: Deployment, *, only_fresh: bool) -> None:
        """Let one task find out whether the deployment works again."""
        probe = await probing.choose(pool, deployment, only_fresh=only_fresh)
        if probe is None:
            return
        claimed = await self._take(pool, 1, probe)
        if claimed.task_ids:
            logger.info("task %s probes %s", probe.task_id, deployment.upstream.provider)
            await self._start_taken(pool, claimed, probe.task_id)

    # --- Starting -------------------------------------------------------------------------------
    async def _start_taken(self, pool: Pool, claimed: scheduler.Claim, probing: str = "") -> None:
        """Start the tasks of each deployment. What one raises is raised after the others."""
        pool.started = pool.started_for_people = 0
        batches = [
            self._start_calls(pool, pool.deployments[name], taken.task_ids, claimed, probing)
            for name, taken in claimed.taken.items()
            if taken.task_ids
        ]
        if len(batches) == 1:
            await batches[0]
            return
        # At once: each is a transaction of its own.
        for outcome in await asyncio.gather(*batches, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _start_calls(
        self,
        pool: Pool,
        deployment: Deployment,
        task_ids: list[str],
        claimed: scheduler.Claim,
        probing: str,
    ) -> None:
        worker_id = self._held.worker_id
        self._calls.expect(task_ids)
        try:
            started = await self._start(worker_id, deployment.route(pool.model_id), task_ids)
            # People first.
            started.sort(key=lambda task: task.lane)
            pool.started += len(started)
            pool.started_for_people += sum(task.lane != Lane.BATCH for task in started)
            for index, task in enumerate(started):
                if task.lane == Lane.BATCH and index % BULK_STARTS == BULK_STARTS - 1:
                    # What has come for other calls takes its turn in between.
                    await asyncio.sleep(0)
                task_id = str(task.id)
                with surviving("starting a call"):
                    self._calls.start(
                        task,
                        pool,
                        deployment,
                        is_probe=task_id in (probing, claimed.probing),
                        tried=claimed.tried.get(task_id, ()),
                    )
        finally:
            self._calls.expect_no_more(task_ids)
            not_started = [task_id for task_id in task_ids if not self._calls.needs_slot(task_id)]
            deployment.release(not_started)
        with surviving("observing starts"):
            observe_start(pool, started)
        if not_started:
            await self._give_back(pool, worker_id, not_started)

    async def _give_back(self, pool: Pool, worker_id: UUID, task_ids: list[str]) -> None:
        """Expire or queue again what was claimed and could not be started."""
        await _expire(self._calls, task_ids)
        if await retry_until_database_returns(lambda: lease.is_held(worker_id)):
            if await _put_back(pool, task_ids):
                # Staff paused or disabled the model or deployment a moment ago.
                self._pools.refresh(await retry_until_database_returns(load_pools))
            pool.woken.set()
        else:
            # Unless there is a new one by now.
            self._held.is_held = self._held.worker_id != worker_id
            await _put_back(pool, task_ids)

    async def _start(self, worker_id: UUID, route: Route, task_ids: list[str]) -> list[StartedTask]:
        """Have the rows of these run here. Where one cannot, it fails, and the others do."""
        is_alone = len(task_ids) == 1
        try:
            return await retry_until_database_returns(
                lambda: transitions.start(worker_id, route, task_ids),
                max_failures=0 if is_alone else 1,
            )
        except Exception as error:
            is_refused = isinstance(error, DatabaseError) and not is_outage(error)
            if is_alone and not is_refused:
                raise
            note_fault("starting tasks")
        if is_alone:
            # It would be claimed again and again.
            await retry_until_database_returns(lambda: recovery.fail_unstartable(task_ids))
            return []
        started = []
        for task_id in task_ids:
            with surviving("starting tasks"):
                started += await self._start(worker_id, route, [task_id])
        return started


def _wait_seconds(pool: Pool) -> float:
    """How long a pool waits for a ring before it is claimed for all the same."""
    if pool.is_at_rest:
        return REST_SECONDS
    return POLL_SECONDS if pool.wait_seconds is None else min(pool.wait_seconds, POLL_SECONDS)


async def ring(pool: str) -> None:
    """Ring the doorbell of other workers, if Redis is there."""
    try:
        await scheduler.ring(pool)
    except RedisUnavailable as error:
        logger.warning("ringing: Redis is away (%s)", error)


async def _put_back(pool: Pool, task_ids: Sequence[str]) -> bool:
    """Make ready again what was claimed and could not be started: without a lease, or of a model
    that staff paused. If it fails, the sweep does it. False where there is no such task."""
    queued = Task.objects.filter(
        pk__in=task_ids, status=Status.QUEUED, leader=None, model_id=pool.model_id
    )
    tasks = await retry_until_database_returns(
        lambda: list(queued.only("lane", "owner_id", "weight"))
    )
    entries = [
        scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight) for task in tasks
    ]
    if entries:
        await scheduler.aenqueue(pool.name, entries)
        await ring(pool.name)
    return bool(entries)


async def _expire(calls: Calls, task_ids: Sequence[str]) -> None:
    """End those of these tasks whose deadline has passed."""
    expired, successors = await retry_until_database_returns(lambda: flights.expire(task_ids))
    ends = [
        (task.owner_id, TaskExpired(task_id=str(task.id), id=task.event_id)) for task in expired
    ]
    await in_database(eventlog.append_ends, ends, settings.EVENT_LOG_TTL_SECONDS)
    for successor in successors:
        calls.requeue(successor, 0)
