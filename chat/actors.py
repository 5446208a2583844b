"""Dramatiq's actors: the doorbell that wakes workers, and the periodic jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

import dramatiq
from django.conf import settings
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread

from accounts.models import IdempotencyRecord
from aily.monitoring.process import observe
from aily.observability import tracing
from aily.process.exit_codes import DRAINED_EXIT_CODE
from aily.redis.clients import close_async_clients
from chat import retention, settlement
from chat.delivery.deliverer import Deliverer
from chat.observability import metrics
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.tools.lister import ToolLister

logger = logging.getLogger(__name__)

#: A message that waited for this long is dropped: another one has come meanwhile.
MAX_AGE_MS = 30_000
#: One queue for all: a worker polls each queue on a thread of its own.
QUEUE = "aily"

_after_settling: list[Callable[[], None]] = []
_runtime: Runtime | None = None
_deliverer: Deliverer | None = None
_tool_lister: ToolLister | None = None


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def dispatch(pool: str) -> None:
    """Look for work in `pool`. Carries no task: the worker claims what comes first."""
    if _runtime is not None:
        _loop_thread().loop.call_soon_threadsafe(_runtime.wake, pool)


def ring(pool: str) -> None:
    """Ring the doorbell. Raises RedisUnavailable."""
    dispatch.send(pool)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def sweep() -> None:
    """Put right what a dead worker or a lost message left behind."""
    for pool in recovery.sweep():
        ring(pool)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def settle() -> None:
    """Store what follows from the ends of tasks."""
    deliveries = settlement.settle_ended_tasks().deliveries
    if recovery.announce_questions() + deliveries:
        deliver.send()
    for function in _after_settling:
        function()


def after_settling(function: Callable[[], None]) -> Callable[[], None]:
    """Have `function` called after each settling, which comes once a second. What has seldom
    anything to do rings there, without a message of its own every second."""
    _after_settling.append(function)
    return function


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def deliver() -> None:
    """Look for due webhooks and mails. Carries none: the worker claims what is due."""
    if _deliverer is not None:
        _loop_thread().loop.call_soon_threadsafe(_deliverer.wake)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def refresh_tools() -> None:
    """List the tools of MCP servers whose lists are out of date, on this process's event loop."""
    if _tool_lister is not None:
        _loop_thread().loop.call_soon_threadsafe(_tool_lister.wake)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def forget_idempotency_keys() -> None:
    """Delete stored answers whose idempotency key has expired."""
    IdempotencyRecord.objects.expired().delete()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def purge_tasks() -> None:
    """Delete tasks that ended longer ago than TASK_RETENTION_DAYS, if that is set."""
    if deleted := retention.purge_scheduled():
        logger.info("deleted %d old tasks", deleted)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def purge_vectors() -> None:
    """Delete vectors that were stored longer ago than EMBEDDINGS_KEPT_SECONDS."""
    retention.purge_vectors()


def _loop_thread() -> EventLoopThread:
    thread = get_event_loop_thread()
    if thread is None:
        raise RuntimeError("The AsyncIO middleware must come before RunCalls.")
    return thread


class RunCalls(dramatiq.Middleware):
    """Runs the process's calls on Dramatiq's event loop, from boot to shutdown."""

    def __init__(self) -> None:
        super().__init__()
        self.is_drained = False

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        global _deliverer, _runtime, _tool_lister
        runtime = _runtime = Runtime(on_drained=self._end_process)
        _deliverer = Deliverer()
        _tool_lister = ToolLister()
        pulse = observe("worker", parts={"lease": lambda: runtime.has_lease})
        pulse.watch(_loop_thread().loop)
        pulse.add(lambda: metrics.CALLS_RUNNING.set(len(runtime.calls)))
        pulse.add(lambda: metrics.CALLS_CAPACITY.set(settings.WORKER_MAX_CALLS))
        _loop_thread().loop.call_soon_threadsafe(_runtime.start)

    def _end_process(self) -> None:
        """End as by the polite signal, with a code that says that no successor is wanted."""
        self.is_drained = True
        os.kill(os.getpid(), signal.SIGTERM)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if _runtime is not None and _deliverer is not None:
            if _tool_lister is not None:
                _loop_thread().loop.call_soon_threadsafe(_tool_lister.stop)
            _loop_thread().run_coroutine(_stop(_runtime, _deliverer))
            tracing.end()


class ExitDrained(dramatiq.Middleware):
    """Ends a drained worker process with a code of its own. It must be the first middleware: then
    it is the last to hear of the shutdown."""

    def __init__(self, calls: RunCalls) -> None:
        super().__init__()
        self._calls = calls

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._calls.is_drained:
            # Dramatiq's master ends with the same code.
            sys.exit(DRAINED_EXIT_CODE)


async def _stop(runtime: Runtime, deliverer: Deliverer) -> None:
    await asyncio.gather(runtime.aclose(), deliverer.stop())
    # Dramatiq's loop ends without a word to close_with_loop.
    await close_async_clients()
