"""Tool calls of one worker process: each a coroutine, which holds nothing but its connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from aily.concurrency.batching import Batcher
from aily.concurrency.faults import note_fault, run_for_ever, surviving
from aily.concurrency.jobs import Jobs
from aily.database.threads import in_database
from aily.observability import context, tracing
from aily.redis.errors import RedisUnavailable
from chat.eventlog import LogWriters
from chat.models.task_states import Status
from chat.models.tool_calls import CallState
from chat.models.tools import Tool
from chat.models.transitions import tool_steps
from chat.models.transitions.tool_steps import AskingCall, ClaimedCall, EndedCall, LoopState
from chat.observability.tracing import traceparent_of
from chat.runner.lease import HeldLease
from chat.runner.storage import PACE, retry_until_database_returns

if TYPE_CHECKING:
    from chat.runner.tool_calling import NoRoom

logger = logging.getLogger(__name__)

#: The doorbell's message for waiting tool calls, in place of a pool's name.
TOOLS = "tools"
#: Calls taken at once.
CLAIM_SIZE = 200
END_SECONDS = 1.0
#: The result, for the model, of a call whose worker died in the middle of it.
UNKNOWN = EndedCall(
    id=UUID(int=0),
    state=CallState.UNKNOWN,
    text="Outcome unknown: the connection was lost in the middle of this call. It may have taken "
    "effect, and was not made again.",
    is_error=True,
    error_code="tool_outcome_unknown",
)

#: Of one whose user has not decided in time.
EXPIRED = EndedCall(
    id=UUID(int=0),
    state=CallState.REJECTED,
    text="This call came to nothing: its user did not answer in time.",
    is_error=True,
    error_code="tool_expired",
    reason="expired",
    is_decided=True,
)


class ToolRunner:
    """Claims tool calls and makes each as a coroutine. It does nothing before the first `wake`."""

    def __init__(
        self, held: HeldLease, writers: LogWriters, requeue: Callable[[LoopState, float], None]
    ) -> None:
        self._held = held
        self._writers = writers
        self._requeue = requeue
        self._running: dict[UUID, asyncio.Task[None]] = {}
        #: Claimed by their rows, and about to be made.
        self._claimed: set[UUID] = set()
        #: Their rows may name this worker before the claim has returned.
        self._is_claiming = False
        self._by_task: defaultdict[str, set[UUID]] = defaultdict(set)
        #: Servers all of whose slots are taken, and the timer after which each is tried again.
        self._full: dict[str, asyncio.TimerHandle] = {}
        #: Slots that this process has given back, by server.
        self._freed: Counter[str] = Counter()
        #: Calls by their rows that this process did not know when it looked last.
        self._suspects: set[UUID] = set()
        self._is_stopping = False
        self._has_begun = False
        self._woken = asyncio.Event()
        self._jobs = Jobs("making tool calls")
        self._calls = Jobs("a tool call")
        self._ends: Batcher[tuple[UUID, EndedCall], None] = Batcher(
            self._store, pace=PACE, name="tool_result"
        )

    def __len__(self) -> int:
        return len(self._running)

    @property
    def has_begun(self) -> bool:
        """Whether this process has ever made a tool call."""
        return self._has_begun

    @property
    def call_ids(self) -> Sequence[UUID]:
        return [*self._claimed, *self._running]

    def wake(self) -> None:
        """Look for calls that wait."""
        if not self._has_begun:
            self._has_begun = True
            self._jobs.spawn(run_for_ever("claiming tool calls", self._claim_when_woken))
        self._woken.set()

    def cancel_task(self, task_id: str) -> None:
        """Stop the calls of a task that has ended."""
        for call_id in list(self._by_task.get(task_id, ())):
            self._running[call_id].cancel()

    # --- The end of the process, or of its lease ------------------------------------------------
    def stop(self) -> None:
        """Claim nothing more."""
        self._is_stopping = True

    def drop_all(self) -> None:
        """Stop all calls and store nothing of them: the lease is lost, or about to be given up."""
        for job in list(self._running.values()):
            job.cancel()

    async def wait_until_ended(self, timeout_seconds: float) -> None:
        """Return when no call runs any more, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while self._calls and (left := deadline - time.monotonic()) > 0:
            await self._calls.wait(left)

    async def aclose(self) -> None:
        self._jobs.cancel()
        self._calls.cancel()
        await self._calls.wait(END_SECONDS)

    # --- Keeping to the rows --------------------------------------------------------------------
    async def reconcile(self) -> None:
        """Stop calls that are by their rows not this worker's to make, and put right rows of calls
        that this process does not make."""
        worker_id, known = self._held.worker_id, self.call_ids
        taken = await retry_until_database_returns(lambda: tool_steps.taken_calls(worker_id, known))
        for call_id in taken:
            if (job := self._running.get(call_id)) is not None:
                job.cancel()
        # Those that were claimed since `known` was read are among the suspects the first time.
        found = await retry_until_database_returns(
            lambda: tool_steps.stranded_calls(worker_id, known)
        )
        # Claims go on while the rows are read: what is known by now is not stranded.
        found = list(set(found).difference(self.call_ids))
        stranded = [call_id for call_id in found if call_id in self._suspects]
        self._suspects = set(found)
        if not stranded or self._is_claiming:
            return
        logger.error("%d tool calls were made by nobody", len(stranded))
        tasks, must_wake = await retry_until_database_returns(
            lambda: tool_steps.recover_stranded_calls(worker_id, stranded, UNKNOWN)
        )
        await self.go_on(tasks)
        if must_wake:
            self._woken.set()

    # --- Claiming -------------------------------------------------------------------------------
    async def _claim_when_woken(self) -> None:
        await self._woken.wait()
        self._woken.clear()
        room = min(settings.WORKER_MAX_TOOL_CALLS - len(self._running), CLAIM_SIZE)
        if self._is_stopping or not self._held.is_held or room <= 0:
            return
        worker_id, full = self._held.worker_id, list(self._full)
        self._is_claiming = True
        try:
            claimed = await retry_until_database_returns(
                lambda: tool_steps.claim_calls(worker_id, room, full)
            )
            self._claimed.update(call.id for call in claimed)
        finally:
            self._is_claiming = False
        if claimed:
            await self._begin(worker_id, claimed)
        if len(claimed) == room:
            self._woken.set()

    async def _begin(self, worker_id: UUID, claimed: Sequence[ClaimedCall]) -> None:
        # Imported here: a process without tools loads none of this.
        from chat.runner.tool_calling import load_tools

        loaded_at = time.monotonic()
        try:
            tools = await retry_until_database_returns(lambda: load_tools(claimed))
        finally:
            self._claimed.clear()
        for call in claimed:
            job = self._calls.spawn(self._run(worker_id, call, tools.get(call.id), loaded_at))
            self._running[call.id] = job
            self._by_task[str(call.task_id)].add(call.id)
            # No `finally` in the job: one that is cancelled before its first step runs nothing.
            job.add_done_callback(partial(self._forget, call))

    def _forget(self, call: ClaimedCall, job: asyncio.Task[None]) -> None:
        # One that was put back may have been claimed again by now.
        if self._running.get(call.id) is not job:
            return
        del self._running[call.id]
        own = self._by_task[str(call.task_id)]
        own.discard(call.id)
        if not own:
            del self._by_task[str(call.task_id)]
        if len(self._running) >= settings.WORKER_MAX_TOOL_CALLS - 1:
            self._woken.set()

    def _note_full(self, full: NoRoom, freed: int) -> None:
        """Leave a server alone for a while, unless a slot of it was given back since it was asked:
        `freed` had been by then."""
        if self._freed[full.server] != freed:
            self._woken.set()
            return
        if (timer := self._full.get(full.server)) is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        wait = full.retry_after_seconds
        self._full[full.server] = loop.call_later(wait, self._try_again, full.server)

    def _try_again(self, server: str) -> None:
        # Whatever a clock says: were the time not quite over by it, no other timer would follow.
        self._full.pop(server, None)
        self._woken.set()

    def _note_freed(self, server: str) -> None:
        self._freed[server] += 1
        if (timer := self._full.get(server)) is not None:
            timer.cancel()
            self._try_again(server)

    # --- Calling --------------------------------------------------------------------------------
    async def _run(
        self, worker_id: UUID, call: ClaimedCall, tool: Tool | None, loaded_at: float
    ) -> None:
        context.task_id.set(str(call.task_id))
        with surviving("a tool call"):
            await self._make(worker_id, call, tool, loaded_at)

    async def _make(
        self, worker_id: UUID, call: ClaimedCall, tool: Tool | None, loaded_at: float
    ) -> None:
        from chat.runner.tool_calling import NoRoom, make_call

        parent = await traceparent_of(str(call.task_id))
        server = tool.server.name if tool is not None else ""
        freed = self._freed[server]
        with tracing.span("tool call", parent=parent):
            made = await make_call(call, tool, loaded_at)
        if isinstance(made, NoRoom):
            await retry_until_database_returns(
                lambda: tool_steps.put_back_calls(worker_id, [call.id])
            )
            self._note_full(made, freed)
            return
        self._note_freed(server)
        if isinstance(made, AskingCall):
            await self._ask(worker_id, made)
            return
        await self._ends.submit((worker_id, made))

    async def _ask(self, worker_id: UUID, asking: AskingCall) -> None:
        from chat.runner.tool_calling import unasked

        work = partial(_ask_user, worker_id, asking, unasked(asking.id))
        await self.go_on(await retry_until_database_returns(work))

    # --- Storing --------------------------------------------------------------------------------
    async def _store(self, ended: Sequence[tuple[UUID, EndedCall]]) -> list[None]:
        """Store results, and queue the tasks all of whose calls have ended."""
        by_worker: defaultdict[UUID, list[EndedCall]] = defaultdict(list)
        for worker_id, call in ended:
            by_worker[worker_id].append(call)
        for worker_id, calls in by_worker.items():
            work = partial(_end_calls, worker_id, calls)
            await self.go_on(await retry_until_database_returns(work))
        return [None] * len(ended)

    async def go_on(self, tasks: Sequence[LoopState]) -> None:
        """Publish what has become of the calls of these tasks, and queue those that are ready."""
        if not tasks:
            return
        from chat.toolloop import events

        try:
            # What the attempt itself has written comes before.
            await self._writers.flush()
            await in_database(events.publish, [task.id for task in tasks])
            failed = [task.id for task in tasks if task.status == Status.FAILED]
            if failed:
                await in_database(events.publish_failures, failed)
        except RedisUnavailable as error:
            logger.warning("tool events: Redis is away (%s)", error)
        except Exception:  # noqa: BLE001 - logged; the rows have the results
            note_fault("publishing tool events")
        for task in tasks:
            if task.is_ready:
                self._requeue(task, 0)


def _end_calls(worker_id: UUID, calls: Sequence[EndedCall]) -> list[LoopState]:
    from chat.toolloop.budgets import within_budgets

    return within_budgets(partial(tool_steps.end_calls, worker_id, calls))


def _ask_user(worker_id: UUID, asking: AskingCall, unasked: EndedCall) -> list[LoopState]:
    from chat.toolloop.budgets import within_budgets

    return within_budgets(partial(tool_steps.ask_user, worker_id, asking, unasked))
