"""The calls of one worker process: each a coroutine, from its start to its stored end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from aily.concurrency.batching import Batcher
from aily.concurrency.byte_budget import ByteBudget
from aily.concurrency.faults import note_fault, surviving
from aily.concurrency.jobs import Jobs
from aily.database.threads import in_database
from aily.observability import context, tracing
from aily.redis.errors import RedisUnavailable
from chat import eventlog, scheduler
from chat.eventlog import LogWriters
from chat.events import TaskQueued, WaitingFor
from chat.llm.client import ProviderClient
from chat.llm.errors import (
    ConnectTimeoutError,
    ProviderError,
    RateLimitError,
    UnreachableError,
)
from chat.models import Lane
from chat.models.flights import Successor
from chat.models.transitions import StartedTask
from chat.models.transitions.tool_steps import LoopState
from chat.runner.attempt import Stop
from chat.runner.call import Call, Memory
from chat.runner.finish import Finisher
from chat.runner.observing import observe_call, trace_call, trace_wait
from chat.runner.pools import Deployment, Pool, Pools
from chat.runner.storage import ResultStore
from chat.scheduler import Fault

logger = logging.getLogger(__name__)

#: How long what was cancelled may take to end.
END_SECONDS = 1.0
#: What is made ready again: a task for its next attempt or step, or one that takes another's place.
Requeued = StartedTask | Successor | LoopState


class Calls:
    """Runs what a worker has started. What one call raises reaches no other.

    Calls that are started after `begin_lease` store their results under its worker id.
    """

    _finisher: Finisher

    def __init__(self, pools: Pools, client: ProviderClient, writers: LogWriters) -> None:
        self._pools = pools
        self._client = client
        self._writers = writers
        self.memory = Memory(
            prompts=ByteBudget(settings.WORKER_MAX_PROMPT_BYTES),
            vectors=ByteBudget(settings.WORKER_MAX_VECTOR_BYTES),
        )
        self._by_task: dict[str, Call] = {}
        #: Tasks that were claimed, and are not yet among the calls; a cancelling takes them out.
        self._starting: set[str] = set()
        #: Calls, and what of them is being handed back: the process waits for their ends.
        self._running = Jobs("a call")
        self._retries = Jobs("a retry")
        #: By the names of their pools. One command for each task of a thousand that are made ready
        #: at once would wait in vain for a connection to Redis.
        self._requeues: Batcher[tuple[str, scheduler.Entry], None] = Batcher(_enqueue)
        #: Called when tool calls wait to be made.
        self.on_tool_calls: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._by_task)

    @property
    def by_task(self) -> Mapping[str, Call]:
        return self._by_task

    @property
    def starting(self) -> Collection[str]:
        return self._starting

    def is_known(self, task_id: str) -> bool:
        return task_id in self._by_task or task_id in self._starting

    def needs_slot(self, task_id: str) -> bool:
        """Whether a call of this process goes on under the slot of this task.

        A task that the sweep put back between its claim and its start can be claimed once more.
        There is one slot all the same, and the call needs it.
        """
        call = self._by_task.get(task_id)
        return call is not None and not call.was_answered

    # --- Starting and stopping ------------------------------------------------------------------
    def begin_lease(self, store: ResultStore) -> None:
        self._finisher = Finisher(store, self.requeue, self.on_tool_calls)

    def expect(self, task_ids: Iterable[str]) -> None:
        """Note that these were claimed and are about to be started."""
        self._starting.update(task_ids)

    def expect_no_more(self, task_ids: Iterable[str]) -> None:
        self._starting.difference_update(task_ids)

    def start(
        self,
        task: StartedTask,
        pool: Pool,
        deployment: Deployment,
        *,
        is_probe: bool,
        tried: Sequence[str] = (),
    ) -> None:
        """Run the call of a task whose row says that it runs here."""
        writer = self._writers.bulk if task.lane == Lane.BATCH else self._writers.people
        call = Call(task, pool, deployment, self._client, writer, self.memory, tried=tried)
        if is_probe:
            call.on_first_text = lambda: self._count_success(pool, call)
        self._by_task[call.task_id] = call
        # Cancelled after its row was started, before this process knew.
        if call.task_id not in self._starting:
            call.stop(Stop.CANCELLED)
        self._running.spawn(self._run(call, pool, self._finisher))

    def cancel_task(self, task_id: str) -> None:
        """Stop the call of a task whose row says that it was cancelled."""
        self._starting.discard(task_id)
        if task_id in self._by_task:
            self._by_task[task_id].stop(Stop.CANCELLED)

    def on_listener(self, task_id: str) -> None:
        """A follower announced that it listens to the text of this task."""
        if task_id in self._by_task:
            self._by_task[task_id].on_listener()

    def stop_all(self, why: Stop) -> None:
        for call in list(self._by_task.values()):
            call.stop(why)

    async def wait_until_ended(self, timeout_seconds: float) -> None:
        """Return when no call runs any more, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while self._running and (left := deadline - time.monotonic()) > 0:
            await self._running.wait(left)

    async def aclose(self) -> None:
        """End what still runs, and store nothing more."""
        self._running.cancel()
        self._retries.cancel()
        await self.wait_until_ended(END_SECONDS)
        await self._client.aclose()

    # --- Running --------------------------------------------------------------------------------
    async def _run(self, call: Call, pool: Pool, finisher: Finisher) -> None:
        """From the first byte to the stored end, whatever is raised in between."""
        began = time.monotonic()
        traceparent = ""
        try:
            context.task_id.set(call.task_id)
            logger.debug("attempt %d starts", call.task.attempt)
            traceparent = await trace_wait(call)
            with trace_call(call, traceparent) as span:
                await call.ask()
                with surviving("observing a call"):
                    observe_call(call, time.monotonic() - began, span)
        except Exception:  # noqa: BLE001 - logged
            note_fault("call")
        error = call.state.error
        try:
            if call.was_answered:
                # Now, not when the end is stored: the provider has room again.
                self._count_success(pool, call)
                self._release(pool, call, began)
            elif error is not None and error.is_outage:
                # Before the slot is given back, or its room would be claimed too early; and before
                # the task may be claimed again.
                with surviving("reporting a failure"):
                    await self._report_failure(pool, call, error)
            await self._finish(call, finisher, traceparent)
        finally:
            call.release_memory()
            if self._by_task.get(call.task_id) is call:
                del self._by_task[call.task_id]
            if not call.was_answered:
                self._release(pool, call, began)

    async def _finish(self, call: Call, finisher: Finisher, traceparent: str) -> None:
        """What cannot be stored at all is found by the worker's reconciling."""
        try:
            with tracing.span("store", parent=traceparent):
                await finisher.finish(call)
            logger.debug("attempt %d ended: %s", call.task.attempt, call.state.outcome)
        except Exception:  # noqa: BLE001 - logged
            note_fault("ending a call")
            with surviving("ending a call"):
                await finisher.fail(call)

    def _count_success(self, pool: Pool, call: Call) -> None:
        """Count that the provider answers, once a call; of a probe with its first text."""
        if call.is_counted:
            return
        call.is_counted = True
        call.deployment.call_succeeded(call.task.owner_id)
        if not call.was_answered:
            pool.woken.set()

    def _release(self, pool: Pool, call: Call, began: float) -> None:
        call.deployment.call_ended(call.task_id, time.monotonic() - began, call.used_tokens)
        # While no task waits, the slot is given back with the next claim.
        if pool.has_waiting:
            pool.woken.set()

    async def _report_failure(self, pool: Pool, call: Call, error: ProviderError) -> None:
        try:
            await scheduler.report_failure(
                call.deployment.key,
                call.task_id,
                owner_id=call.task.owner_id,
                lane=call.task.lane,
                cap=call.deployment.cap,
                fault=_fault(error),
                retry_after_seconds=error.retry_after_seconds,
                is_alone=pool.is_alone,
            )
        except RedisUnavailable as away:
            logger.warning("reporting a failure: Redis is away (%s)", away)

    # --- Queueing again -------------------------------------------------------------------------
    def requeue(self, task: Requeued, seconds: float, tried: Sequence[str] = ()) -> None:
        """Make a task ready again after `seconds`, first of all for deployments other than those
        that it has `tried`."""
        # Without a pause it is handed back: the process waits for it like for the call itself.
        jobs = self._retries if seconds else self._running
        jobs.spawn(self._requeue_after(task, seconds, tried))

    async def _requeue_after(self, task: Requeued, seconds: float, tried: Sequence[str]) -> None:
        """If this process dies before, or cannot, the sweep does it."""
        entry = scheduler.Entry(str(task.id), task.lane, task.owner_id, task.weight, tried=tried)
        try:
            if seconds:
                with surviving("publishing a retry"):
                    frame = _retry_frame(entry, seconds)
                    if not _is_row(task):
                        await in_database(eventlog.publish_queued, task.owner_id, frame)
                await asyncio.sleep(seconds)
            # A model that this worker does not know yet is left to the sweep.
            if pool := self._pools.of_model(task.model_id):
                await self._requeues.submit((pool.name, entry))
                pool.woken.set()
        except RedisUnavailable as error:
            logger.warning("requeueing: Redis is away (%s); the sweep will do it", error)


async def _enqueue(entries: Sequence[tuple[str, scheduler.Entry]]) -> list[None]:
    """Make tasks ready, by the names of their pools. Raises RedisUnavailable."""
    by_pool: defaultdict[str, list[scheduler.Entry]] = defaultdict(list)
    for pool, entry in entries:
        by_pool[pool].append(entry)
    for pool, found in by_pool.items():
        await scheduler.aenqueue(pool, found)
    return [None] * len(entries)


def _fault(error: ProviderError) -> Fault:
    if isinstance(error, RateLimitError):
        return Fault.THROTTLED
    is_unreachable = isinstance(error, UnreachableError | ConnectTimeoutError)
    return Fault.UNREACHABLE if is_unreachable else Fault.FAILED


def _is_row(task: Requeued) -> bool:
    """True for a row of a run, of which nothing is pushed to all sockets of its owner."""
    return isinstance(task, StartedTask) and task.run_id is not None


def _retry_frame(entry: scheduler.Entry, seconds: float) -> TaskQueued:
    until = timezone.now() + timedelta(seconds=seconds)
    waiting_for = WaitingFor("retry", until)
    return TaskQueued(entry.task_id, None, seconds, waiting_for)
