"""The events of tool calls. They are made from the rows, so that they can be appended again to a
log that Redis has lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import UNSET

from aily.database.rows import Row, fetch_rows
from chat import eventlog
from chat.eventlog import Append
from chat.eventlog.keys import life_channel, text_channel
from chat.events import (
    PIECE_CHARS,
    Event,
    EventId,
    TaskRequiresAction,
    TaskSnapshot,
    TaskToolCall,
    TaskToolResult,
    encode,
)
from chat.models.tasks import Task
from chat.models.tool_calls import CallState, InputQuestion
from chat.models.transitions.tool_steps import NewStep

#: Characters of a result that events have; the rest is in the call itself.
RESULT_CHARS = 4_000
#: A log that waits for its user is kept for this much longer than the approval may take.
KEEP_SECONDS = 86_400
_decode_questions = msgspec.json.Decoder(list[InputQuestion]).decode

_CALLS = """
SELECT c.id, c.task_id, t.owner_id, t.run_id, c.attempt, c.step, c.name, c.server, c.arguments,
       c.edited_arguments, c.state, c.text, c.is_error, c.expires_at,
       extract(epoch FROM c.finished_at - c.started_at)::float AS duration_seconds,
       c.called_event, c.asked_event, c.decided_event, c.result_event,
       c.questions::text AS questions
  FROM chat_toolcall c JOIN chat_task t ON t.id = c.task_id
 WHERE c.task_id = ANY(%(task_ids)s) AND c.attempt = t.attempt
"""


class CallRow(Row, frozen=True):
    """A call of a task's latest step, with what its events are made of."""

    id: UUID
    task_id: UUID
    owner_id: int
    run_id: UUID | None
    attempt: int
    step: int
    name: str
    server: str
    arguments: str
    edited_arguments: str | None
    state: str
    text: str
    is_error: bool
    expires_at: datetime | None
    duration_seconds: float | None
    called_event: int
    asked_event: int
    decided_event: int
    result_event: int
    #: JSON: what its tool has asked the user.
    questions: str | None = None


def events_of(call: CallRow) -> Iterator[tuple[int, Event]]:
    """The events of a call so far, each with its number."""
    task_id, own = str(call.task_id), _fields(call)
    for n, arguments, state in (
        (call.called_event, call.arguments, _first_state(call)),
        (call.decided_event, call.edited_arguments or call.arguments, CallState.QUEUED.value),
    ):
        if n:
            event_id, shown = f"{call.attempt}-{n}", _cut(arguments, PIECE_CHARS)
            yield n, TaskToolCall(task_id, event_id, **own, **shown, state=state)
    if call.asked_event and call.expires_at is not None:
        event_id, shown = f"{call.attempt}-{call.asked_event}", _cut(call.arguments, PIECE_CHARS)
        yield (
            call.asked_event,
            TaskRequiresAction(task_id, event_id, **own, **shown, deadline=call.expires_at),
        )
    if call.questions is not None:
        yield from _events_of_questions(call, _decode_questions(call.questions))
    if call.result_event:
        yield call.result_event, _result(call)


def _events_of_questions(
    call: CallRow, questions: Sequence[InputQuestion]
) -> Iterator[tuple[int, Event]]:
    """What a tool asks in the middle of its call: the questions, and that they are answered."""
    task_id, own = str(call.task_id), _fields(call)
    shown = _cut(call.edited_arguments or call.arguments, PIECE_CHARS)
    for number, question in enumerate(questions, 1):
        yield (
            question.asked_event,
            TaskRequiresAction(
                task_id,
                f"{call.attempt}-{question.asked_event}",
                **own,
                **shown,
                deadline=question.deadline,
                kind="input",
                message=question.message,
                schema=question.schema,
                question=number,
            ),
        )
        if n := question.answered_event:
            state = CallState.QUEUED.value
            yield n, TaskToolCall(task_id, f"{call.attempt}-{n}", **own, **shown, state=state)


def _first_state(call: CallRow) -> str:
    return (CallState.REQUIRES_ACTION if call.asked_event else CallState.QUEUED).value


def _fields(call: CallRow) -> dict[str, Any]:
    return {
        "call_id": str(call.id),
        "tool": call.name,
        "server": call.server,
        "step": call.step,
    }


def _cut(arguments: str, limit: int) -> dict[str, Any]:
    if len(arguments) <= limit:
        return {"arguments": arguments}
    return {"arguments": arguments[:limit], "is_truncated": True}


def _result(call: CallRow) -> TaskToolResult:
    return TaskToolResult(
        str(call.task_id),
        f"{call.attempt}-{call.result_event}",
        **_fields(call),
        state=call.state,
        is_error=call.is_error,
        text=call.text[:RESULT_CHARS],
        duration_seconds=call.duration_seconds,
        is_truncated=True if len(call.text) > RESULT_CHARS else UNSET,
    )


def events_of_step(task_id: UUID, owner_id: int, step: NewStep) -> list[Event]:
    """The events of a step that has just been stored, in their order."""
    calls = (
        CallRow(
            id=call.id,
            task_id=task_id,
            owner_id=owner_id,
            run_id=None,
            attempt=step.attempt,
            step=step.number,
            name=call.name,
            server=call.server,
            arguments=call.arguments,
            edited_arguments=None,
            state=call.state,
            text=call.text,
            is_error=bool(call.error_code),
            expires_at=call.expires_at,
            duration_seconds=None,
            called_event=call.called_event,
            asked_event=call.asked_event,
            decided_event=0,
            result_event=call.result_event,
        )
        for call in step.calls
    )
    numbered = sorted(
        (found for call in calls for found in events_of(call)), key=lambda found: found[0]
    )
    return [event for _, event in numbered]


# --- Appending what the rows have ---------------------------------------------------------------
def publish(task_ids: Iterable[UUID]) -> None:
    """Append to the tasks' logs what they lack of the events of their latest step.

    Where Redis has lost more than those, a snapshot of the step's text comes before them. Any
    number of processes may do so at once. Raises RedisUnavailable.
    """
    by_task: defaultdict[UUID, list[CallRow]] = defaultdict(list)
    for call in fetch_rows(CallRow, _CALLS, {"task_ids": list(set(task_ids))}):
        by_task[call.task_id].append(call)
    attempts = [(str(task_id), calls[0].attempt) for task_id, calls in by_task.items()]
    if not attempts:
        return
    appends: list[Append] = []
    last_events = eventlog.last_events(attempts)
    for calls, last in zip(by_task.values(), last_events, strict=True):
        appends += _lacking(calls, last)
    if appends:
        eventlog.append(appends)


def publish_failures(task_ids: Sequence[UUID]) -> None:
    """Append the ends of tasks that failed when they were about to go on. Raises
    RedisUnavailable."""
    if not task_ids:
        return
    ended = Task.objects.defer("messages", "params").filter(pk__in=task_ids)
    eventlog.append_ends(
        [
            (task.owner_id, task.terminal_event(f"{task.attempt}-{task.last_event}"))
            for task in ended
        ],
        settings.EVENT_LOG_TTL_SECONDS,
    )


def _lacking(calls: Sequence[CallRow], last: int) -> Iterator[Append]:
    numbered = sorted(
        (found for call in calls for found in events_of(call)), key=lambda found: found[0]
    )
    lacking = [(n, event) for n, event in numbered if n > last]
    if lacking and lacking[0][0] > last + 1:
        yield from _snapshot(calls[0], lacking[0][0] - 1)
    task_id = str(calls[0].task_id)
    channel = life_channel(task_id, calls[0].owner_id, is_quiet=calls[0].run_id is not None)
    for n, event in lacking:
        event_id = EventId(calls[0].attempt, n)
        yield Append(
            task_id, event_id, encode(event), channel, create=True, keep_seconds=kept_seconds()
        )


def kept_seconds() -> int:
    """How long the log of a task that waits for tools, or for its user, is kept at the least."""
    return int(settings.TOOL_APPROVAL_SECONDS) + KEEP_SECONDS


class _StepText(Row, frozen=True):
    text: str
    reasoning: str


_STEP_TEXT = """
SELECT text, reasoning FROM chat_toolstep WHERE task_id = %(task_id)s AND number = %(number)s
"""


def _snapshot(call: CallRow, n: int) -> Iterator[Append]:
    params = {"task_id": call.task_id, "number": call.step}
    for step in fetch_rows(_StepText, _STEP_TEXT, params):
        task_id, event_id = str(call.task_id), EventId(call.attempt, n)
        event = TaskSnapshot(task_id, str(event_id), step.text, step.reasoning)
        channel = text_channel(task_id)
        yield Append(
            task_id,
            event_id,
            encode(event),
            channel,
            create=True,
            keep_seconds=kept_seconds(),
        )
