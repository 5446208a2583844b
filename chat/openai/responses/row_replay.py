"""The events and the object of a response, from the row of its task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec
from django.db.models import prefetch_related_objects

from chat.models import Status, StoredResponse, Task, ToolCall
from chat.models.responses import TranscriptEntry
from chat.models.task_states import REFUSAL
from chat.openai.responses.call_items import ASKED, CallOfTool
from chat.openai.responses.endings import ending_of_task
from chat.openai.responses.events import EventMachine
from chat.openai.responses.objects import (
    Ending,
    JsonObject,
    ResponseEvent,
    ResponseFacts,
    response_object,
    usage_object,
)


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
        return response_object(machine.facts, "completed", machine.output, ending_for_now(task))
    return response_object(machine.facts, "in_progress", machine.output)


def object_of_task(facts: ResponseFacts, task: Task) -> JsonObject:
    """The response of an ended task that was not streamed."""
    machine = EventMachine(facts)
    ending = ending_of_task(task)
    machine.answered_by(task.attempt)
    for _ in machine.ended(ending, **answer_of(task.result()), calls=calls_of(task)):
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
    answer = answer_of(task.result()) if is_rest_sent else {}
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


PlayCall = Callable[[CallOfTool], Iterator[ResponseEvent]]


def _moments(
    machine: EventMachine, row: ToolCall
) -> Iterator[tuple[tuple[int, int], PlayCall, CallOfTool]]:
    """The states of a call that its events had, each with its place in the log."""
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


def answer_of(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": result["text"],
        "reasoning": result["reasoning"],
        "tool_calls": result["tool_calls"] or (),
        "is_refusal": result.get("finish_reason") == REFUSAL,
        "logprobs": result.get("logprobs") or (),
    }


def ending_for_now(task: Task) -> Ending:
    return Ending("completed", usage=usage_object(task.usage))
