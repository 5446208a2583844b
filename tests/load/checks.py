"""Was every task answered once, in order, and with the right bytes? Judged after the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chat.events import TERMINAL_TYPES, EventId
from chat.llm.simulator.answers import simulated_answer
from tests.load.installation import StoredTask
from tests.load.recording import MODEL, Recording, TaskRecord, Wave
from tests.load.result import Run


def expected_text(prompt: str, tokens: int) -> str:
    """What the simulator answers to the prompt."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"type": "disabled"},
    }
    return simulated_answer(body, seed=0, answer_tokens=(tokens, tokens)).text


class Checker:
    """Compares what the clients saw with the stored rows and the simulator's own answers."""

    def __init__(self, run: Run, tokens: int) -> None:
        self._run = run
        self._tokens = tokens

    def violations(self, wanted: int) -> list[str]:
        """One line for everything that is wrong; none when all is well."""
        found = [error for wave in self._run.waves for error in wave.recording.errors]
        tasks = self._run.tasks
        if len(tasks) != wanted:
            found.append(f"{wanted} tasks were wanted and {len(tasks)} submitted")
        ids = [record.task_id for record in tasks if record.task_id]
        if len(set(ids)) != len(ids):
            found.append("two submits were given the same task")
        if extra := self._run.stored.keys() - set(ids):
            found.append(f"{len(extra)} tasks are stored that no client knows")
        for wave in self._run.waves:
            for record in wave.recording.tasks:
                problems = self._problems(record, wave.wave)
                found += [
                    f"task {record.number} {record.task_id}: {problem}" for problem in problems
                ]
        return found

    def _problems(self, record: TaskRecord, wave: Wave) -> Iterator[str]:
        row = self._run.stored.get(record.task_id)
        if not record.task_id:
            yield "never accepted"
        elif row is None:
            yield "accepted, but not stored"
        else:
            events = events_of(record)
            yield from wrong_order(events, gapless=wave.stream)
            yield from wrong_end(events, row)
            if row.text != expected_text(wave.text_of(record.number), self._tokens):
                yield "the result is not what the simulator answered"
            if wave.stream and streamed_text(events) != row.text:
                yield "the streamed text differs from the result"


def events_of(record: TaskRecord) -> list[dict[str, Any]]:
    """The task's events; its place in the queue has no id and is none."""
    events = [msgspec.json.decode(frame) for frame in record.frames]
    return [event for event in events if event["type"] != "task.queued"]


def wrong_order(events: list[dict[str, Any]], *, gapless: bool) -> Iterator[str]:
    """Ids that do not rise, or, for a client that asked for text, leave one out."""
    before = EventId(0, 0)
    for event in events:
        now = EventId.parse(event["id"])
        if now <= before or (gapless and not now.follows(before)):
            yield f"event {now} after {before}"
        before = now


def wrong_end(events: list[dict[str, Any]], row: StoredTask) -> Iterator[str]:
    """No end, more than one, or another one than is stored."""
    ends = [event for event in events if event["type"] in TERMINAL_TYPES]
    if not ends:
        yield f"lost: no end was pushed (its row says {row.status})"
    elif len(ends) > 1:
        yield f"ended {len(ends)} times"
    elif events[-1]["type"] != "task.completed" or row.status != "succeeded":
        yield f"ended as {events[-1]}, stored as {row.status}"
    elif ends[0]["result"]["text"] != row.text:
        yield "the stored text differs from the pushed result"


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


def streamed_text(events: list[dict[str, Any]]) -> str:
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
