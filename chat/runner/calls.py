"""The calls of one worker process: each a coroutine, from its start to its stored end."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from django.utils import timezone

from aily.concurrency.faults import note_fault, surviving
from aily.concurrency.jobs import Jobs
from aily.database.threads import in_database
from aily.observability import context, tracing
from aily.redis.errors import RedisUnavailable
from chat import eventlog, scheduler
from chat.eventlog import LogWriter
from chat.events import TaskQueued, WaitingFor
from chat.llm.client import ProviderClient
from chat.llm.errors import (
    ConnectTimeoutError,
    ProviderError,
    RateLimitError,
    UnreachableError,
)
from chat.models.flights import Successor
from chat.models.transitions import StartedTask
from chat.runner.call import Call, Stop
from chat.runner.observing import observe_call, trace_call, trace_wait
from chat.runner.pools import Pool
from chat.runner.storage import Endings
from chat.scheduler import Fault

logger = logging.getLogger(__name__)


class Calls:
    """Runs what a worker has started. Nothing that a call raises reaches another."""

    _client: ProviderClient
    _writer: LogWriter
    _endings: Endings

    def __init__(self) -> None:
        self._wakes: dict[str, asyncio.Event] = {}
        #: The pools that this worker knows, by model id.
        self._pool_names: dict[int, str] = {}
        self._calls: dict[str, Call] = {}
        #: Calls, and what of them is being handed back: the process waits for their ends.
        self._running = Jobs("a call")
        #: Claimed, and not yet among the calls; a cancel takes them out.
        self._starting: set[str] = set()
        self._jobs = Jobs("a job of the worker")

    def wake(self, pool: str) -> None:
        """Look for work in `pool` now."""
        if pool in self._wakes:
            self._wakes[pool].set()

    def _is_under_way(self, task_id: str) -> bool:
        """Whether a call of this process goes on under the lease of this task.

        A task that the sweep put back between its claim and its start can be claimed once more.
        There is one lease all the same, and the call needs it.
        """
        call = self._calls.get(task_id)
        return call is not None and not call.was_answered

    def _is_known(self, task_id: str) -> bool:
        return task_id in self._calls or task_id in self._starting

    def _cancelled(self, task_id: str) -> None:
        self._starting.discard(task_id)
        if task_id in self._calls:
            self._calls[task_id].stop(Stop.CANCELLED)

    def _listened_to(self, task_id: str) -> None:
        if task_id in self._calls:
            self._calls[task_id].listened_to()

    def _start_call(self, task: StartedTask, pool: Pool, *, is_probe: bool) -> None:
        call = Call(task, pool, self._client, self._writer, self._endings, self._requeue)
        if is_probe:
            call.on_first_text = lambda: self._note_success(pool, call)
        self._calls[call.task_id] = call
        # Cancelled after it was started, before we knew.
        if call.task_id not in self._starting:
            call.stop(Stop.CANCELLED)
        self._running.spawn(self._run(call, pool))

    async def _run(self, call: Call, pool: Pool) -> None:
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
        try:
            if call.was_answered:
                # Now, not when the end is stored: the provider has room again.
                self._note_success(pool, call)
                self._release(pool, call.task_id, began)
            elif call.error is not None and call.error.is_outage:
                # While the lease is held, so that its room is not claimed too early; and before the
                # task may be claimed again.
                with surviving("reporting a failure"):
                    await self._report_failure(pool, call, call.error)
            await self._end(call, traceparent)
        finally:
            if self._calls.get(call.task_id) is call:
                del self._calls[call.task_id]
            if not call.was_answered:
                self._release(pool, call.task_id, began)

    async def _end(self, call: Call, traceparent: str) -> None:
        """What cannot be stored at all is found by `_give_back`."""
        try:
            with tracing.span("store", parent=traceparent):
                await call.end()
            logger.debug("attempt %d ended: %s", call.task.attempt, call.outcome)
        except Exception:  # noqa: BLE001 - logged
            note_fault("ending a call")
            with surviving("ending a call"):
                await call.fail()

    def _note_success(self, pool: Pool, call: Call) -> None:
        """That the provider answers; of a probe with its first text, once."""
        if call.is_counted:
            return
        call.is_counted = True
        pool.succeeded += 1
        pool.owners.add(call.task.owner_id)
        if not call.was_answered:
            self.wake(pool.name)

    def _release(self, pool: Pool, task_id: str, began: float) -> None:
        pool.released.append(task_id)
        pool.seconds.append(time.monotonic() - began)
        # With nobody waiting, the lease is given back with the next claim.
        if pool.has_waiting:
            self.wake(pool.name)

    async def _report_failure(self, pool: Pool, call: Call, error: ProviderError) -> None:
        try:
            await scheduler.report_failure(
                pool.name,
                call.task_id,
                owner_id=call.task.owner_id,
                lane=call.task.lane,
                cap=pool.cap,
                fault=_fault(error),
                retry_after_seconds=error.retry_after_seconds,
            )
        except RedisUnavailable as away:
            logger.warning("reporting a failure: Redis is away (%s)", away)

    def _requeue(self, task: StartedTask | Successor, seconds: float) -> None:
        # Without a pause it is handed back: the process waits for it like for the call itself.
        jobs = self._jobs if seconds else self._running
        jobs.spawn(self._requeue_after(task, seconds))

    async def _requeue_after(self, task: StartedTask | Successor, seconds: float) -> None:
        """Make a task ready again. If this process dies before, or cannot, the sweep does it."""
        entry = scheduler.Entry(str(task.id), task.lane, task.owner_id, task.weight)
        try:
            if seconds:
                with surviving("telling of a retry"):
                    await in_database(eventlog.notify, task.owner_id, _retry_notice(entry, seconds))
                await asyncio.sleep(seconds)
            # A model that this worker does not know yet is left to the sweep.
            if pool := self._pool_names.get(task.model_id):
                await scheduler.aenqueue(pool, [entry])
                self.wake(pool)
        except RedisUnavailable as error:
            logger.warning("requeueing: Redis is away (%s); the sweep will do it", error)


def _fault(error: ProviderError) -> Fault:
    if isinstance(error, RateLimitError):
        return Fault.THROTTLED
    is_unreachable = isinstance(error, UnreachableError | ConnectTimeoutError)
    return Fault.UNREACHABLE if is_unreachable else Fault.FAILED


def _retry_notice(entry: scheduler.Entry, seconds: float) -> TaskQueued:
    until = timezone.now() + timedelta(seconds=seconds)
    waiting_for = WaitingFor("retry", until)
    return TaskQueued(entry.task_id, None, seconds, waiting_for)
