"""Where the events of a response come from: its task's log while that lasts, or its row.

Both give the same events under the same numbers, as the row keeps how the text was cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import prefetch_related_objects

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
from chat.models.responses import TranscriptEntry
from chat.models.tasks import REFUSAL
from chat.openai.responses.call_items import ASKED, CallOfTool
from chat.openai.responses.endings import ending_of_event, ending_of_task
from chat.openai.responses.events import BEFORE_ALL, EventMachine, ResponseEvent
from chat.openai.responses.objects import (
    Ending,
    JsonObject,
    ResponseFacts,
    response_object,
    usage_object,
)
from chat.openai.task_errors import error_of
from chat.services.follow import follow, load_ended
from chat.services.pieces import Followed
from chat.services.waiting import End


# --- From the row -------------------------------------------------------------------------------
def facts_of(response: StoredResponse) -> ResponseFacts:
    return ResponseFacts(response.task_id, response.request, response.is_background)


def stored_object(response: StoredResponse, task: Task) -> JsonObject:
    """The response as it is now. An ended one is that of its last event."""
    facts = facts_of(response)
    machine = EventMachine(facts)
    if not Status(task.status).is_terminal:
        return _active_object(machine, response, task)
    for _ in play_row(machine, response, task):
        pass
    ending = ending_of_task(task)
    return response_object(facts, ending.status, machine.output, ending)


def _active_object(machine: EventMachine, response: StoredResponse, task: Task) -> JsonObject:
    """The response of a task that has not ended: complete for now, where it waits for its user."""
    if task.tools is None:
        is_queued = task.status == Status.QUEUED
        return response_object(machine.facts, "queued" if is_queued else "in_progress")
    played = _play_attempts if response.is_streamed else _play_calls_alone
    for _ in (*machine.in_progress(), *played(machine, response, task)):
        pass
    if task.status == Status.REQUIRES_ACTION:
        return response_object(machine.facts, "completed", machine.output, _for_now(task))
    return response_object(machine.facts, "in_progress", machine.output)


def object_of_task(facts: ResponseFacts, task: Task) -> JsonObject:
    """The response of an ended task that was not streamed."""
    machine = EventMachine(facts)
    ending = ending_of_task(task)
    machine.answered_by(task.attempt)
    for _ in machine.ended(ending, **_answer(task.result()), calls=calls_of(task)):
        pass
    return response_object(facts, ending.status, machine.output, ending)


def has_whole_transcript(response: StoredResponse, task: Task) -> bool:
    """Whether the row has all that is needed to make the events as they were first sent."""
    if not response.is_streamed:
        return True
    entries = _entries(response)
    attempts = [entry.attempt for entry in entries]
    return attempts == list(range(1, task.attempt + 1)) and all(
        _adds_up(entry, task) for entry in entries
    )


def play_row(
    machine: EventMachine, response: StoredResponse, task: Task
) -> Iterator[ResponseEvent]:
    """The events of a response that has ended."""
    yield from machine.created()
    has_streamed = response.is_streamed and has_whole_transcript(response, task)
    if has_streamed:
        yield from _play_attempts(machine, response, task)
    else:
        if response.is_streamed:
            yield from machine.lost()
        yield from _play_calls_alone(machine, response, task)
        machine.answered_by(task.attempt)
    # A stream whose task did not succeed sends no more text at its end, whatever the row has: an
    # answer that does not fit its schema is kept there, and was held back.
    is_rest_sent = task.status == Status.SUCCEEDED or not has_streamed
    answer = _answer(task.result()) if is_rest_sent else {}
    yield from machine.ended(ending_of_task(task), **answer, calls=calls_of(task))


def _play_attempts(
    machine: EventMachine, response: StoredResponse, task: Task
) -> Iterator[ResponseEvent]:
    """The events of the attempts that have ended: their texts as they were streamed, and calls."""
    calls = stored_calls(task)
    for entry in _entries(response):
        yield from _play_entry(machine, entry, task)
        of_attempt = [call for call in calls if call.attempt == entry.attempt]
        yield from play_calls(machine, of_attempt)


def _play_calls_alone(
    machine: EventMachine, _: StoredResponse, task: Task
) -> Iterator[ResponseEvent]:
    """The events of the calls, where the texts between them were not streamed."""
    yield from play_calls(machine, stored_calls(task))


# --- Tool calls ---------------------------------------------------------------------------------
def stored_calls(task: Task) -> Sequence[ToolCall]:
    """The calls of a task in their order. They have been read with it (`with_calls`)."""
    return [] if task.tools is None else list(task.own_tool_calls.all())


def calls_of(task: Task) -> Sequence[CallOfTool]:
    return [call_of_row(call) for call in stored_calls(task)]


def with_calls(task: Task) -> Task:
    """The task with its tool calls, which costs a query where it may have some."""
    if task.tools is not None:
        prefetch_related_objects([task], "own_tool_calls")
    return task


def call_of_row(call: ToolCall) -> CallOfTool:
    return CallOfTool(
        call_id=str(call.pk),
        tool=call.name,
        server=call.server,
        state=call.state,
        arguments=call.sent_arguments,
        text=call.text,
        is_error=call.is_error,
    )


def play_calls(machine: EventMachine, calls: Iterable[ToolCall]) -> Iterator[ResponseEvent]:
    """The events of calls, in the order of their numbers in the log."""
    happened = sorted(
        (found for call in calls for found in _moments(machine, call)), key=lambda found: found[0]
    )
    for _, play, call in happened:
        yield from play(call)


_Play = Callable[[CallOfTool], Iterator[ResponseEvent]]


def _moments(
    machine: EventMachine, row: ToolCall
) -> Iterator[tuple[tuple[int, int], _Play, CallOfTool]]:
    """What the events of a call tell, each with its place in the log."""
    call = call_of_row(row)
    was_asked = bool(row.asked_event)
    first = msgspec.structs.replace(
        call, arguments=row.arguments, state=ASKED if was_asked else "queued"
    )
    yield (row.attempt, row.called_event), machine.tool_call, first
    if was_asked:
        yield (row.attempt, row.asked_event), machine.requires_action, first
    if row.decided_event:
        decided = msgspec.structs.replace(call, state="queued")
        yield (row.attempt, row.decided_event), machine.tool_call, decided
    if row.result_event:
        yield (row.attempt, row.result_event), machine.tool_result, call


# --- Text ---------------------------------------------------------------------------------------
def _entries(response: StoredResponse) -> Sequence[TranscriptEntry]:
    return msgspec.convert(response.transcript, list[TranscriptEntry])


def _adds_up(entry: TranscriptEntry, task: Task) -> bool:
    text, reasoning = _texts(entry, task)
    lengths = [sum(cut for cut in entry.cuts if (cut > 0) is is_text) for is_text in (True, False)]
    return lengths == [len(text), -len(reasoning)]


def _texts(entry: TranscriptEntry, task: Task) -> tuple[str, str]:
    text = task.text if entry.text is None else entry.text
    return text, task.reasoning if entry.reasoning is None else entry.reasoning


def _play_entry(
    machine: EventMachine, entry: TranscriptEntry, task: Task
) -> Iterator[ResponseEvent]:
    yield from machine.started(entry.attempt)
    text, reasoning = _texts(entry, task)
    ends = zip(
        entry.cuts,
        accumulate(max(cut, 0) for cut in entry.cuts),
        accumulate(max(-cut, 0) for cut in entry.cuts),
        strict=True,
    )
    for cut, text_end, reasoning_end in ends:
        if cut > 0:
            yield from machine.delta(text[text_end - cut : text_end], "")
        else:
            yield from machine.delta("", reasoning[reasoning_end + cut : reasoning_end])


# --- From the log -------------------------------------------------------------------------------
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
        plays: dict[str, _Play] = {
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
            answer = _answer(task.result())
            yield from self.machine.ended(ending_of_task(task), **answer, calls=calls_of(task))
            return
        answer = _answer(end.result) if isinstance(end, TaskCompleted) else {}
        yield from self.machine.ended(ending, **answer)

    def _advance(self, event_id: EventId) -> Iterator[ResponseEvent]:
        if self.is_streamed and not event_id.follows(self.cursor):
            yield from self.machine.gap(event_id.attempt)
        self.cursor = event_id


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": result["text"],
        "reasoning": result["reasoning"],
        "tool_calls": result["tool_calls"] or (),
        "is_refusal": result.get("finish_reason") == REFUSAL,
    }


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
                for event in machine.paused(_for_now(task)):
                    yield event
                return
        if frame.is_terminal:
            end = decode(frame.frame)
            ending = await ending_of_event(end, is_stored=machine.facts.is_stored)
            for event in player.play_end(end, ending, await _missing(end, player)):
                yield event


async def _call_of_frame(frame: Followed) -> CallOfTool:
    """The call that a frame tells of; what is too long for a frame is read from its row."""
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


def _for_now(task: Task) -> Ending:
    return Ending("completed", usage=usage_object(task.usage))


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
