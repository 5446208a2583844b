"""Where the events of a response come from: its task's log while that lasts, or its row.

Both give the same events under the same numbers, as the row keeps how the text was cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec

from chat.events import (
    START,
    TEXT_TYPES,
    AnyEvent,
    EventId,
    TaskCompleted,
    decode,
)
from chat.models import Status, StoredResponse, Task
from chat.models.responses import TranscriptEntry
from chat.models.tasks import REFUSAL
from chat.openai.responses.endings import ending_of_event, ending_of_task
from chat.openai.responses.events import BEFORE_ALL, EventMachine, ResponseEvent
from chat.openai.responses.objects import (
    Ending,
    JsonObject,
    ResponseFacts,
    response_object,
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
    if not Status(task.status).is_terminal:
        is_queued = task.status == Status.QUEUED
        return response_object(facts, "queued" if is_queued else "in_progress")
    machine = EventMachine(facts)
    for _ in play_row(machine, response, task):
        pass
    ending = ending_of_task(task)
    return response_object(facts, ending.status, machine.output, ending)


def object_of_task(facts: ResponseFacts, task: Task) -> JsonObject:
    """The response of an ended task that was not streamed."""
    machine = EventMachine(facts)
    ending = ending_of_task(task)
    machine.answered_by(task.attempt)
    for _ in machine.ended(ending, **_answer(task.result())):
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
        for entry in _entries(response):
            yield from _play_entry(machine, entry, task)
    else:
        machine.answered_by(task.attempt)
        if response.is_streamed:
            yield from machine.lost()
    # A stream whose task did not succeed sends no more text at its end, whatever the row has: an
    # answer that does not fit its schema is kept there, and was held back.
    is_rest_sent = task.status == Status.SUCCEEDED or not has_streamed
    answer = _answer(task.result()) if is_rest_sent else {}
    yield from machine.ended(ending_of_task(task), **answer)


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

    def play_end(self, end: AnyEvent, ending: Ending, task: Task | None) -> Iterator[ResponseEvent]:
        """The last events. `task` is the row, where the last frame has not all of it."""
        if not self.is_streamed:
            self.machine.answered_by(self.cursor.attempt)
        if task is not None:
            yield from self.machine.ended(ending_of_task(task), **_answer(task.result()))
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
    async with aclosing(frames):
        async for frame in frames:
            for event in player.play(frame):
                yield event
            if frame.is_terminal:
                end = decode(frame.frame)
                ending = await ending_of_event(end, is_stored=facts.is_stored)
                for event in player.play_end(end, ending, await _missing(end, player)):
                    yield event


async def _missing(end: AnyEvent, player: _LogPlayer) -> Task | None:
    """The row of an ended task, where its last event lacks a part of the answer that no other
    event has; else None."""
    # Without an answer, what there is of one has been streamed.
    has_all = not end.is_truncated if isinstance(end, TaskCompleted) else player.is_streamed
    if has_all and not player.machine.has_lost_events:
        return None
    return await load_ended(end.task_id)


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
