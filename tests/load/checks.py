"""Was every task answered once, in order, and with the right bytes? Judged after the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chat.events import TERMINAL_TYPES, EventId
from chat.llm.simulator.answers import simulated_answer
from tests.load.installation import StoredTask
from tests.load.recording import MODEL, Recording, TaskRecord, text_of


def expected_text(number: int, tokens: int) -> str:
    """What the simulator answers to task `number`."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text_of(number)}],
        "thinking": {"type": "disabled"},
    }
    return simulated_answer(body, seed=0, answer_tokens=(tokens, tokens)).text


class Checker:
    """Compares what the clients saw with the stored rows and the simulator's own answers."""

    def __init__(self, stored: Mapping[str, StoredTask], tokens: int, *, stream: bool) -> None:
        self._stored = stored
        self._tokens = tokens
        self._stream = stream

    def violations(self, recording: Recording, wanted: int) -> list[str]:
        """One line for everything that is wrong; none when all is well."""
        found = list(recording.errors)
        if len(recording.tasks) != wanted:
            found.append(f"{wanted} tasks were wanted and {len(recording.tasks)} submitted")
        ids = [record.task_id for record in recording.tasks if record.task_id]
        if len(set(ids)) != len(ids):
            found.append("two submits were given the same task")
        if extra := self._stored.keys() - set(ids):
            found.append(f"{len(extra)} tasks are stored that no client knows")
        for record in recording.tasks:
            problems = self._problems(record)
            found += [f"task {record.number} {record.task_id}: {one}" for one in problems]
        return found

    def _problems(self, record: TaskRecord) -> list[str]:
        row = self._stored.get(record.task_id)
        if not record.task_id:
            return ["never accepted"]
        if row is None:
            return ["accepted, but not stored"]
        events = [msgspec.json.decode(frame) for frame in record.frames]
        events = [event for event in events if event["type"] != "task.queued"]
        return [*self._wrong_order(events), *self._wrong_end(record, events, row)]

    def _wrong_order(self, events: list[dict[str, Any]]) -> list[str]:
        found = []
        before = EventId(0, 0)
        for event in events:
            now = EventId.parse(event["id"])
            if now <= before or (self._stream and not now.follows(before)):
                found.append(f"event {now} after {before}")
            before = now
        return found

    def _wrong_end(
        self, record: TaskRecord, events: list[dict[str, Any]], row: StoredTask
    ) -> list[str]:
        ends = [event for event in events if event["type"] in TERMINAL_TYPES]
        if not ends:
            return [f"lost: no end was pushed (its row says {row.status})"]
        if len(ends) > 1:
            return [f"ended {len(ends)} times"]
        if events[-1]["type"] != "task.completed" or row.status != "succeeded":
            return [f"ended as {events[-1]}, stored as {row.status}"]
        found = []
        text = ends[0]["result"]["text"]
        if text != expected_text(record.number, self._tokens):
            found.append("the result is not what the simulator answered")
        if text != row.text:
            found.append("the stored text differs from the pushed result")
        if self._stream and _streamed_text(events) != text:
            found.append("the streamed text differs from the result")
        return found


def accepted_only(recording: Recording, stored: Mapping[str, StoredTask]) -> list[str]:
    """What is wrong with a run that asked for no answers: tasks not accepted, or not stored."""
    found = list(recording.errors)
    for record in recording.tasks:
        if not record.task_id:
            found.append(f"task {record.number}: never accepted")
        elif record.task_id not in stored:
            found.append(f"task {record.number}: accepted, but not stored")
    if len(stored) != len(recording.tasks):
        found.append(f"{len(recording.tasks)} submits made {len(stored)} tasks")
    return found


def _streamed_text(events: list[dict[str, Any]]) -> str:
    """The text a client shows: deltas added up, begun anew with each attempt and snapshot."""
    text = ""
    for event in events:
        match event["type"]:
            case "task.started":
                text = ""
            case "task.snapshot":
                text = event["text"]
            case "task.delta":
                text += event["text"]
    return text
