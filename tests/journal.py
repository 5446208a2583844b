"""What the simulator was really asked, read from its journal (`simulate_llm --journal FILE`)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path


@dataclass
class UpstreamCall:
    """One call as the provider saw it; times are Unix time in seconds."""

    id: str
    model: str
    prompt: str
    began_at: float
    #: None while it runs.
    ended_at: float | None = None
    completed: bool = False

    @property
    def until(self) -> float:
        return float("inf") if self.ended_at is None else self.ended_at


@dataclass
class UpstreamRecord:
    """All calls in the order of their beginnings, and how often each error status was answered."""

    calls: list[UpstreamCall] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def by_prompt(self) -> dict[str, list[UpstreamCall]]:
        found: defaultdict[str, list[UpstreamCall]] = defaultdict(list)
        for call in self.calls:
            found[call.prompt].append(call)
        return found


def read_journal(path: Path) -> UpstreamRecord:
    """The whole journal. Calls that were open when the simulator was killed end with its next
    start: nothing was called in between."""
    record = UpstreamRecord()
    running: dict[str, UpstreamCall] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        match entry["event"]:
            case "start":
                for call in running.values():
                    call.ended_at = entry["at"]
                running.clear()
            case "begin":
                call = UpstreamCall(entry["id"], entry["model"], entry["prompt"], entry["at"])
                running[call.id] = call
                record.calls.append(call)
            case "end":
                call = running.pop(entry["id"])
                call.ended_at, call.completed = entry["at"], entry["completed"]
            case "refused":
                record.refused[entry["status"]] += 1
    return record


def levels(calls: Iterable[UpstreamCall]) -> list[tuple[float, int]]:
    """(time, calls at once from then on). An end and a beginning at one moment: first the end."""
    steps = [step for call in calls for step in ((call.began_at, 1), (call.until, -1))]
    found, now = [], 0
    for at, step in sorted(steps):
        now += step
        found.append((at, now))
    return found


def most_at_once(calls: Iterable[UpstreamCall]) -> int:
    return max((level for _, level in levels(calls)), default=0)


def share_used(calls: Sequence[UpstreamCall], cap: int) -> float:
    """Mean share of `cap` that was in use from the first beginning to the last end."""
    steps = levels(calls)
    used = sum(level * (after - at) for (at, level), (after, _) in pairwise(steps))
    return used / (cap * (steps[-1][0] - steps[0][0]))
