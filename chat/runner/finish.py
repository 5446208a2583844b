"""The end of an attempt: stored in its row, and after the commit published in its log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django.conf import settings
from msgspec.structs import replace

from aily.concurrency.faults import note_fault, surviving
from aily.database.threads import in_database
from chat import answer_cache
from chat.answer_cache import CachedAnswer
from chat.events import EventId, TaskCancelled
from chat.models import ServedFrom, Status
from chat.models.flights import FlightOutcome, Successor
from chat.models.transitions import AttemptResult, StartedTask
from chat.runner.attempt import NextStep, Stop, next_step
from chat.runner.call import Call
from chat.runner.observing import count_end
from chat.runner.results import attempt_result, broken_result, terminal_event, transcript_of
from chat.runner.storage import ResultStore
from chat.runner.tool_steps import events_of_step, with_tool_calls

logger = logging.getLogger(__name__)


class Finisher:
    """Stores and publishes how attempts end.

    `call_tools` is called when tool calls wait to be made.
    `requeue(task, seconds, tried)` is called with a task that gets another attempt after `seconds`,
    at other deployments than those that it has tried; or that runs in the place of the ended one.
    """

    def __init__(
        self,
        store: ResultStore,
        requeue: Callable[[StartedTask | Successor, float, Sequence[str]], None],
        call_tools: Callable[[], None],
    ) -> None:
        self._store = store
        self._requeue = requeue
        self._call_tools = call_tools

    async def finish(self, call: Call) -> None:
        """Store what came of the attempt, and publish it."""
        if call.state.stop is Stop.LOST:
            return
        step = await self._next_step(call)
        result = attempt_result(call, step)
        outcome = None
        if call.state.stop is not Stop.CANCELLED:
            result, outcome = await self._store_or_fail(call, result)
        if outcome is not None:
            count_end(call, step)
        if outcome is not None and result.step is not None:
            self._go_on_with_tools(call, result)
        elif outcome is not None and result.status is Status.QUEUED:
            tried = [*call.tried, call.deployment.key[1]] if step.moves_on else []
            self._requeue(_next_attempt(call.task, step), step.backoff_seconds, tried)
        elif outcome is not None:
            await self._publish(call, result, outcome)
        elif await self._keep_partial(call, result):
            call.log.end(lambda event_id: TaskCancelled(task_id=call.task_id, id=event_id))
        else:
            logger.warning(
                "task %s: attempt %d: its end came too late", call.task_id, call.task.attempt
            )

    async def _next_step(self, call: Call) -> NextStep:
        """Decide what is to become of the task, once its text is in the log."""
        await call.check_output()
        can_move_on = call.state.error is not None and call.can_move_on
        step = next_step(call.task, call.state, can_move_on=can_move_on)
        if step.status.is_terminal and not call.is_withheld:
            call.release_held()
        if settings.LOG_PROMPTS:
            logger.info("answer: %s", call.log.text)
        call.log.flush_text()
        return step if call.loop is None else await with_tool_calls(call, call.loop, step)

    def _go_on_with_tools(self, call: Call, result: AttemptResult) -> None:
        """Publish the events of a committed step, and have its calls made."""
        if result.step is not None:
            call.log.write_events(events_of_step(call, result.step))
        if result.status is Status.QUEUED:
            self._requeue(call.task, 0, ())
        else:
            self._call_tools()

    async def fail(self, call: Call) -> None:
        """Store that the task failed by a fault of ours, after `finish` broke off. If that stored
        the end before, it stays."""
        with surviving("call"):
            call.log.flush_text()
        result = broken_result(call.task, call.log)
        outcome = await self._store.store(result, call.task.lane)
        if outcome is not None:
            await self._publish(call, result, outcome)

    async def _store_or_fail(
        self, call: Call, result: AttemptResult
    ) -> tuple[AttemptResult, FlightOutcome | None]:
        try:
            return result, await self._store.store(result, call.task.lane)
        except Exception:  # noqa: BLE001 - logged
            note_fault("storing an end")
        broken = broken_result(call.task, call.log)
        return broken, await self._store.store(broken, call.task.lane)

    async def _keep_partial(self, call: Call, result: AttemptResult) -> bool:
        # Whatever the attempt came to, it is the cancelling that ends it.
        call.release_held()
        call.log.flush_text()
        text, reasoning = call.log.text, call.log.reasoning
        partial = replace(
            result,
            text=text,
            reasoning=reasoning,
            last_event=call.log.last_event + 1,
            transcript=transcript_of(call, (text, reasoning), Status.CANCELLED),
        )
        try:
            return await self._store.keep_partial(partial)
        except Exception:  # noqa: BLE001 - logged
            note_fault("storing a partial answer")
        return await self._store.keep_partial(
            replace(partial, text="", reasoning="", transcript=None)
        )

    async def _publish(self, call: Call, result: AttemptResult, outcome: FlightOutcome) -> None:
        """Publish the committed end of a task, and of those that share its call."""
        if outcome.followers:
            event_id = str(EventId(result.attempt, result.last_event))
            shared = terminal_event(result, event_id, ServedFrom.FLIGHT)
            followers = [(str(task.id), task.owner_id) for task in outcome.followers]
            # Before the leader's own end, at which their followers would all read their rows.
            call.log.publish_to_followers(followers, shared)
        call.log.end(lambda event_id: terminal_event(result, event_id))
        if outcome.successor:
            self._requeue(outcome.successor, 0, ())
        # Log probabilities are not kept for other tasks.
        has_more = result.tool_calls or result.logprobs
        is_whole = result.finish_reason == "stop" and not has_more
        if call.task.cache_ttl_seconds and result.status is Status.SUCCEEDED and is_whole:
            await in_database(_keep_answer, call.task, result)


def _keep_answer(task: StartedTask, result: AttemptResult) -> None:
    answer = CachedAnswer(result.text, result.reasoning, result.finish_reason, result.usage or {})
    answer_cache.put(task.flight_key, task.model_id, answer, task.cache_ttl_seconds)


def _next_attempt(task: StartedTask, step: NextStep) -> StartedTask:
    return replace(task, model_id=task.fallbacks[0]) if step.falls_back else task
