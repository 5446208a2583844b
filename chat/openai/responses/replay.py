"""The events of a response as readers get them: from its task's log while that lasts, or its row.

Both give the same events under the same numbers, as the row keeps how the text was cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import msgspec

from aily.database.threads import in_database
from chat.events import (
    CALL_TYPES,
    START,
    TEXT_TYPES,
    AnyEvent,
    EventId,
    TaskCompleted,
    decode,
)
from chat.models import Status, StoredResponse, Task, ToolCall
from chat.openai.responses.call_items import ASKED, CallOfTool
from chat.openai.responses.endings import ending_of_event, ending_of_task
from chat.openai.responses.events import BEFORE_ALL, EventMachine
from chat.openai.responses.objects import Ending, JsonObject, ResponseEvent, ResponseFacts
from chat.openai.responses.row_replay import (
    PlayCall,
    answer_of,
    call_of_row,
    calls_of,
    ending_for_now,
    facts_of,
    has_whole_transcript,
    play_row,
    stored_object,
    with_calls,
)
from chat.openai.task_errors import error_of
from chat.services.follow import follow, load_ended
from chat.services.pieces import Followed
from chat.services.waiting import End


class _Text(msgspec.Struct):
    """A delta or snapshot, or a piece of one."""

    text: str
    reasoning: str


@dataclass(slots=True)
class _LogPlayer:
    """Plays a task's frames, in their order, as they come."""

    machine: EventMachine
    is_streamed: bool
    cursor: EventId = START
    has_calls: bool = False

    def play(self, frame: Followed) -> Iterator[ResponseEvent]:
        """The events of a frame; of the last one only those that come before it."""
        if frame.event_id is not None:
            yield from self._advance(frame.event_id)
        if frame.type == "task.started":
            if self.is_streamed:
                yield from self.machine.started(self.cursor.attempt)
            else:
                yield from self.machine.in_progress()
        elif frame.type in TEXT_TYPES:
            piece = msgspec.json.decode(frame.frame, type=_Text)
            if frame.type == "task.delta":
                yield from self.machine.delta(piece.text, piece.reasoning)
            else:
                attempt = max(self.cursor.attempt, 1)
                yield from self.machine.snapshot(attempt, piece.text, piece.reasoning)

    def play_call(self, kind: str, call: CallOfTool) -> Iterator[ResponseEvent]:
        """The events of a frame about a tool call."""
        self.has_calls = True
        plays: dict[str, PlayCall] = {
            "task.tool_call": self.machine.tool_call,
            "task.requires_action": self.machine.requires_action,
            "task.tool_result": self.machine.tool_result,
        }
        yield from plays[kind](call)

    def play_end(self, end: AnyEvent, ending: Ending, task: Task | None) -> Iterator[ResponseEvent]:
        """The last events. `task` is the row, where the last frame has not all of it."""
        if not self.is_streamed:
            self.machine.answered_by(self.cursor.attempt)
        if task is not None:
            answer = answer_of(task.result())
            yield from self.machine.ended(ending_of_task(task), **answer, calls=calls_of(task))
            return
        answer = answer_of(end.result) if isinstance(end, TaskCompleted) else {}
        yield from self.machine.ended(ending, **answer)

    def _advance(self, event_id: EventId) -> Iterator[ResponseEvent]:
        if self.is_streamed and not event_id.follows(self.cursor):
            yield from self.machine.gap(event_id.attempt)
        self.cursor = event_id


async def follow_events(
    facts: ResponseFacts,
    owner_id: int,
    *,
    is_streamed: bool,
    after: int = BEFORE_ALL,
    is_new: bool = False,
) -> AsyncGenerator[ResponseEvent]:
    """Yield the events after number `after`, as they come, to the last. Close the generator.

    `is_new`: of a task that was accepted a moment ago, and waits for a call of its own.
    """
    machine = EventMachine(facts, after)
    player = _LogPlayer(machine, is_streamed)
    for event in machine.created():
        yield event
    frames = follow(str(facts.task_id), owner_id, START, text=is_streamed, is_new=is_new)
    async with aclosing(frames), aclosing(_play(player, frames)) as events:
        async for event in events:
            yield event


async def resumed_events(
    facts: ResponseFacts,
    owner_id: int,
    cursor: EventId,
    asked: Sequence[CallOfTool],
    *,
    is_streamed: bool,
) -> AsyncGenerator[ResponseEvent]:
    """Yield the events of a response that goes on after a place of its task's log, where its user
    has decided on calls. `asked`: those of the step. Close the generator."""
    machine = EventMachine(facts)
    player = _LogPlayer(machine, is_streamed, cursor)
    for event in (*machine.created(), *machine.resume(cursor.attempt, asked)):
        yield event
    frames = follow(str(facts.task_id), owner_id, cursor, text=is_streamed)
    async with aclosing(frames), aclosing(_play(player, frames)) as events:
        async for event in events:
            yield event


async def _play(
    player: _LogPlayer, frames: AsyncGenerator[Followed]
) -> AsyncGenerator[ResponseEvent]:
    """Yield the events of frames, to the end of the task or to a call that waits for its user."""
    machine = player.machine
    async for frame in frames:
        for event in player.play(frame):
            yield event
        if frame.type in CALL_TYPES:
            call = await _call_of_frame(frame)
            for event in player.play_call(frame.type, call):
                yield event
            if machine.is_waiting and (task := await _waiting_task(machine.facts.task_id)):
                for event in machine.paused(ending_for_now(task)):
                    yield event
                return
        if frame.is_terminal:
            end = decode(frame.frame)
            ending = await ending_of_event(end, is_stored=machine.facts.is_stored)
            for event in player.play_end(end, ending, await _missing(end, player)):
                yield event


async def _call_of_frame(frame: Followed) -> CallOfTool:
    """The call of a frame; what is too long for a frame is read from its row."""
    call = msgspec.json.decode(frame.frame, type=CallOfTool)
    if not call.is_truncated:
        return call
    row = await in_database(ToolCall.objects.filter(pk=call.call_id).first)
    if row is None:
        return call
    whole = call_of_row(row)
    arguments = row.arguments if call.state == ASKED else whole.arguments
    return msgspec.structs.replace(call, arguments=arguments, text=whole.text)


async def _waiting_task(task_id: UUID) -> Task | None:
    """The task if it waits for its user now, and not only at this place of its log."""
    found = Task.objects.filter(pk=task_id, status=Status.REQUIRES_ACTION)
    return await in_database(found.only("usage", "status").first)


async def _missing(end: AnyEvent, player: _LogPlayer) -> Task | None:
    """The row of an ended task, where its last event lacks a part of the answer that no other
    event has; else None."""
    # Without an answer, what there is of one has been streamed.
    has_all = not end.is_truncated if isinstance(end, TaskCompleted) else player.is_streamed
    if has_all and not player.machine.has_lost_events:
        return None
    task = await load_ended(end.task_id)
    return task if task is None else await in_database(with_calls, task)


async def current_object(response: StoredResponse, task: Task, owner_id: int) -> JsonObject:
    """The response as it is now, from its row, or from the log where the row has not all yet."""
    if not Status(task.status).is_terminal or has_whole_transcript(response, task):
        return stored_object(response, task)
    found = stored_object(response, task)
    events = follow_events(facts_of(response), owner_id, is_streamed=True)
    async with aclosing(events):
        async for event in events:
            if event.is_last:
                found = event.fields["response"]
    return found


async def object_of_end(facts: ResponseFacts, end: End) -> JsonObject:
    """The response whose task has ended like this, and that was not streamed. Raises OpenAIError
    where it failed."""
    if not isinstance(end.event, TaskCompleted):
        error = error_of(end.event)
        # What became messages came as input.
        error.param = "input" if error.param == "messages" else error.param
        raise error
    player = _LogPlayer(EventMachine(facts), is_streamed=False, cursor=end.event_id)
    ending = await ending_of_event(end.event, is_stored=facts.is_stored)
    *_, last = player.play_end(end.event, ending, None)
    response: JsonObject = last.fields["response"]
    return response


async def response_events(
    response: StoredResponse, task: Task, owner_id: int, after: int
) -> AsyncGenerator[ResponseEvent]:
    """Yield the events of a stored response after number `after`. Close the generator."""
    if Status(task.status).is_terminal and has_whole_transcript(response, task):
        machine = EventMachine(facts_of(response), after)
        for event in play_row(machine, response, task):
            yield event
        return
    facts, is_streamed = facts_of(response), response.is_streamed
    events = follow_events(facts, owner_id, is_streamed=is_streamed, after=after)
    async with aclosing(events):
        async for event in events:
            yield event
