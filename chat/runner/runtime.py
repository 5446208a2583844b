"""One worker process: its lease, its claims and its running calls, all on one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from django.conf import settings

from aily.concurrency.faults import run_for_ever, surviving
from aily.concurrency.jobs import Jobs
from aily.database.threads import in_database
from aily.observability import context
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.eventlog import LogWriters
from chat.eventlog.keys import LISTENERS_CHANNEL, worker_channel
from chat.llm.client import ProviderClient
from chat.runner import lease, recovery
from chat.runner.attempt import Stop
from chat.runner.calls import END_SECONDS, Calls
from chat.runner.claims import POLL_SECONDS, Claimer, ring
from chat.runner.lease import HeldLease
from chat.runner.listening import listen
from chat.runner.pools import Pools
from chat.runner.slots import Slots
from chat.runner.storage import ResultStore, retry_until_database_returns
from chat.runner.tools import TOOLS, ToolRunner
from chat.runner.upstreams import load_pools

logger = logging.getLogger(__name__)

#: How often a lease is renewed before it would run out.
RENEWALS = 4
#: How often a draining worker checks whether its calls have ended.
DRAIN_POLL_SECONDS = 0.1
#: Time to store calls that are handed back, before the process ends.
HAND_BACK_SECONDS = 5.0


class Runtime:
    """Claims tasks while there is room and runs each as a coroutine."""

    def __init__(self, on_drained: Callable[[], None] = lambda: None) -> None:
        """`on_drained` is called when an operator has drained this worker and its calls ended."""
        self.pools = Pools()
        self.client = ProviderClient()
        self._writers = LogWriters(settings.EVENT_LOG_TTL_SECONDS)
        self.calls = Calls(self.pools, self.client, self._writers)
        self._held = HeldLease()
        self.tools = ToolRunner(self._held, self._writers, self.calls.requeue)
        self.calls.on_tool_calls = self.tools.wake
        self._slots = Slots(self.pools, self.calls, self._held)
        self._claimer = Claimer(self.pools, self.calls, self._slots, self._held)
        self._jobs = Jobs("a job of the worker")
        self._is_ready = asyncio.Event()
        self._is_stopping = False
        self._is_draining = False
        self._on_drained = on_drained
        #: Set to have the rows read now: models, and this worker's own.
        self._reload = asyncio.Event()

    def start(self) -> None:
        """Begin; must be called on the event loop."""
        self._jobs.spawn(self._writers.run())
        self._jobs.spawn(run_for_ever("life of a worker", self._live))

    async def ready(self) -> None:
        """Return once there is a lease, and the pools are known."""
        await self._is_ready.wait()

    def wake(self, pool: str) -> None:
        """Look for work in `pool` now; for tool calls, if it is TOOLS."""
        if pool == TOOLS:
            self.tools.wake()
        else:
            self.pools.wake(pool)

    @property
    def worker_id(self) -> str:
        """The id of the newest lease; it changes when the process was declared dead."""
        return str(self._held.worker_id)

    @property
    def has_lease(self) -> bool:
        return self._held.is_held

    # --- The life of a lease --------------------------------------------------------------------
    async def _live(self) -> None:
        """Keep one lease until it is taken away or the process stops. The caller starts over."""
        if self._is_stopping:
            await asyncio.sleep(HAND_BACK_SECONDS)
            return
        held = self._held
        held.worker_id = await retry_until_database_returns(
            lambda: lease.register(is_draining=self._is_draining)
        )
        context.name_worker(self.worker_id)
        self.calls.begin_lease(ResultStore(held.worker_id))
        held.is_held = True
        logger.info("worker %s is ready", held.worker_id)
        beside = [
            self._jobs.spawn(run_for_ever("listening", self._listen)),
            self._jobs.spawn(run_for_ever("renewing slots", self._renew_slots)),
        ]
        try:
            await self._keep_lease()
        finally:
            held.is_held = False
            for job in beside:
                job.cancel()
            self.calls.stop_all(Stop.LOST)
            self.tools.drop_all()
        await self._drop_slots()

    async def _keep_lease(self) -> None:
        """Renew until the lease is lost. While the database is away nothing is lost by itself: no
        other process can take the lease away without it."""
        while await self._renew():
            self._reload.clear()
            for step in (
                self.reload_pools, self.check_drain, self.drop_taken_away, self.give_back,
                self.give_back_tool_calls,
            ):  # fmt: skip
                with surviving("renewal"):
                    await step()
            self._is_ready.set()
            await self._wait_for_renewal()
        if not self._is_stopping:
            logger.error("worker %s was declared dead: dropping its calls", self.worker_id)

    async def _wait_for_renewal(self) -> None:
        try:
            async with asyncio.timeout(settings.WORKER_LEASE_SECONDS / RENEWALS):
                await self._reload.wait()
        except TimeoutError:
            pass

    async def _renew(self) -> bool:
        """False once the lease is lost; whatever goes wrong is no reason to think so."""
        while True:
            with surviving("renewal"):
                return await retry_until_database_returns(lambda: lease.renew(self._held.worker_id))
            await asyncio.sleep(POLL_SECONDS)

    async def _renew_slots(self) -> None:
        """For as long as calls run. Not with the lease, nor with the claims alone: those wait while
        PostgreSQL is away, and the provider's calls go on."""
        await self._slots.renew()
        await asyncio.sleep(settings.WORKER_LEASE_SECONDS / RENEWALS)

    async def _drop_slots(self) -> None:
        """Give back what this lease took of the models' caps, some of it after its end."""
        try:
            await in_database(scheduler.drop_worker, self.worker_id, self.pools.deployments)
        except RedisUnavailable as error:
            logger.warning("giving back slots: Redis is away (%s)", error)

    async def _listen(self) -> None:
        await listen(
            {
                worker_channel(self.worker_id): self._cancel_task,
                scheduler.DOORBELL: self.wake,
                scheduler.doorbell_of(self.worker_id): self.pools.wake_alone,
                scheduler.RELOAD: lambda _: self._reload.set(),
                LISTENERS_CHANNEL: self.calls.on_listener,
            }
        )

    def _cancel_task(self, task_id: str) -> None:
        self.calls.cancel_task(task_id)
        self.tools.cancel_task(task_id)

    # --- Steps of a renewal ---------------------------------------------------------------------
    async def reload_pools(self) -> None:
        """Take over what staff changed of models and providers."""
        self.pools.refresh(await retry_until_database_returns(load_pools))
        self._claimer.begin()

    async def check_drain(self) -> None:
        """Begin to drain if an operator has asked for it."""
        worker_id = self._held.worker_id
        if self._is_draining or not await retry_until_database_returns(
            lambda: lease.is_draining(worker_id)
        ):
            return
        logger.info("worker %s drains: it claims nothing more", worker_id)
        self._is_draining = True
        self._claimer.stop()
        self.tools.stop()
        self._jobs.spawn(self._finish_draining())

    async def _finish_draining(self) -> None:
        """Wait until the calls have ended, however long they take, and say that they have."""
        while self._claimer.may_bring_tasks or self.calls or self.tools:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        logger.info("worker %s is drained", self.worker_id)
        self._on_drained()

    async def drop_taken_away(self) -> None:
        """Stop calls whose task was cancelled, or is another worker's by now."""
        worker_id, task_ids = self._held.worker_id, list(self.calls.by_task)
        for task_id in await retry_until_database_returns(
            lambda: lease.taken_away(worker_id, task_ids)
        ):
            self.calls.cancel_task(task_id)

    async def give_back(self) -> None:
        """Queue again what by its row runs here without a call, whatever has led to that, and give
        back slots without one."""
        worker_id, known = self._held.worker_id, [*self.calls.by_task, *self.calls.starting]
        found = await retry_until_database_returns(lambda: lease.stranded(worker_id, known))
        # Not what was started meanwhile; what also ended has another row by now.
        stranded = [attempt for attempt in found if not self.calls.is_known(attempt.task_id)]
        if stranded:
            logger.error("%d tasks ran without a call: %s", len(stranded), stranded[:5])
            for pool in await retry_until_database_returns(
                lambda: recovery.give_back(worker_id, stranded)
            ):
                self.wake(pool)
        await self._slots.release_unknown()

    async def give_back_tool_calls(self) -> None:
        """Put right what by its row is a tool call of this process, and is none; and stop those
        whose task has ended. A process that has made none has nothing to look for."""
        if not self.tools.has_begun:
            return
        await self.tools.reconcile()

    # --- Stopping -------------------------------------------------------------------------------
    async def aclose(self) -> None:
        """Claim nothing more, let calls end within the grace time, hand the rest back.

        Nothing of it asks Redis afterwards: the loop's clients are its owner's to close.
        """
        self._is_stopping = True
        self._claimer.stop()
        self.tools.stop()
        # Without a lease nothing is running, and there is nothing to leave behind.
        if self._held.is_held:
            await asyncio.gather(
                self.calls.wait_until_ended(settings.WORKER_GRACE_SECONDS),
                self.tools.wait_until_ended(settings.WORKER_GRACE_SECONDS),
            )
            logger.info("handing back %d calls", len(self.calls) + len(self.tools))
            self.calls.stop_all(Stop.HANDED_BACK)
            # Their rows are put right once the lease is given up, as after a worker's death.
            self.tools.drop_all()
            await self.calls.wait_until_ended(HAND_BACK_SECONDS)
            await self._leave()
        await self._claimer.aclose()
        await self.tools.aclose()
        await self.calls.aclose()
        self._jobs.cancel()
        await self._jobs.wait(END_SECONDS)

    async def _leave(self) -> None:
        with surviving("giving the lease up"):
            await in_database(lease.give_up, self._held.worker_id)
        try:
            with surviving("leaving"):
                await self._writers.flush()
            await in_database(scheduler.drop_worker, self.worker_id, self.pools.deployments)
            for pool in self.pools:
                await ring(pool.name)
        except RedisUnavailable as error:
            logger.warning("leaving: Redis is away (%s)", error)
