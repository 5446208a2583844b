"""Judges a run by three witnesses: the clients' logs, the rows, and the simulator's journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chat.llm.simulator.answers import simulated_answer
from tests.chaos.users import Seen
from tests.journal import UpstreamCall, UpstreamRecord, levels
from tests.load.installation import StoredTask
from tests.load.recording import MODEL

#: How much later than the other side the simulator may see a connection close.
SLACK_SECONDS = 0.5
#: A worker that was frozen may still send what it had begun before it learns that it is dead; on a
#: busy machine that takes its time.
ZOMBIE_SECONDS = 15.0
#: What becomes of a task whose every attempt ran while the simulator was being killed.
EXCUSED = {"provider_unreachable", "provider_truncated", "provider_error"}


@dataclass(frozen=True)
class Evidence:
    """What is known after a run. `zombie_calls`: (task id, attempt) that a frozen worker held
    until others had the task; `frozen`: Unix times in between which such a worker existed."""

    clients: Sequence[Seen]
    #: Task ids by prompt, of the probes.
    probes: Mapping[str, str | None]
    stored: Mapping[str, StoredTask]
    upstream: UpstreamRecord
    cap: int
    answer_tokens: int
    zombie_calls: frozenset[tuple[str, int]]
    frozen: Sequence[tuple[float, float]]


def problems(evidence: Evidence) -> list[str]:
    """A line for everything that is lost, doubled or wrong."""
    prompts = {task.task_id: task.prompt for task in evidence.clients if task.task_id}
    prompts |= {task_id: prompt for prompt, task_id in evidence.probes.items() if task_id}
    calls = evidence.upstream.by_prompt()
    found = [
        f"{task.key} {task.task_id}: {line}"
        for task in evidence.clients
        for line in _seen_wrong(task, evidence.stored)
    ]
    for task_id, row in evidence.stored.items():
        prompt = prompts.get(task_id)
        if prompt is None:
            found.append(f"{task_id} is stored, but no client knows it")
            continue
        lines = [*_row_wrong(row, prompt, evidence), *_called_wrong(row, calls[prompt], evidence)]
        found += [f"{prompt} {task_id}: {line}" for line in lines]
    strange = calls.keys() - set(prompts.values()) - evidence.probes.keys()
    found += [f"the simulator was asked what no client submitted: {prompt}" for prompt in strange]
    return [*found, *_over_cap(evidence)]


def _seen_wrong(task: Seen, stored: Mapping[str, StoredTask]) -> Iterator[str]:
    """One client's log against the row."""
    row = stored.get(task.task_id or "")
    if row is None:
        yield "accepted, but not stored" if task.task_id else "never accepted"
        return
    yield from task.problems
    if len(task.ends) != 1:
        yield f"its client saw {len(task.ends)} ends"
    elif task.ends[0]["type"] == "task.completed":
        result = task.ends[0]["result"]["text"]
        # A log that was lost ends with the result alone.
        if task.text not in (result, "") and not result.startswith(task.text):
            yield "the streamed text is not the result"
        if result != row.text or row.status != "succeeded":
            yield f"the pushed result is not the stored text of a task that {row.status}"
    elif row.status == "succeeded":
        yield f"its client saw {task.ends[0]['type']}"


def _row_wrong(row: StoredTask, prompt: str, evidence: Evidence) -> Iterator[str]:
    if row.status == "failed" and row.error_code in EXCUSED and row.failures > 1:
        return
    if row.status != "succeeded":
        yield f"ended as {row.status} ({row.error_code}) after {row.attempt} attempts"
    elif row.text != expected_text(prompt, evidence.answer_tokens):
        yield "the stored text is not what the simulator answers"
    taken_over = {attempt for task_id, attempt in evidence.zombie_calls if task_id == row.task_id}
    if row.attempt in taken_over:
        yield f"ended by attempt {row.attempt}, whose worker had been declared dead"


def _called_wrong(
    row: StoredTask, calls: Sequence[UpstreamCall], evidence: Evidence
) -> Iterator[str]:
    """What the provider was asked for one task. `calls` in the order of their beginnings."""
    if len(calls) > row.attempt:
        yield f"{len(calls)} calls in {row.attempt} attempts"
    overlaps = sum(
        later.began_at < earlier.until - SLACK_SECONDS
        for number, later in enumerate(calls)
        for earlier in calls[:number]
    )
    if overlaps > row.crashes:
        yield f"{overlaps} calls overlap, and only {row.crashes} workers died"
    if row.finished_at is not None:
        end = row.finished_at.timestamp()
        for call in calls:
            if call.began_at > end and not _is_zombie_time(call.began_at, evidence):
                yield f"called {call.began_at - end:.3f} s after its end"
    if row.status == "succeeded":
        yield from _served_wrong(row, calls)


def _served_wrong(row: StoredTask, calls: Sequence[UpstreamCall]) -> Iterator[str]:
    """The answer that was stored is one that the simulator gave to this very attempt."""
    call = next((call for call in calls if call.id == row.upstream_request_id), None)
    assert row.started_at is not None
    assert row.finished_at is not None
    if call is None or not call.completed:
        yield f"the simulator has no whole answer {row.upstream_request_id!r}"
    elif call.began_at < row.started_at.timestamp() or call.until > row.finished_at.timestamp():
        yield "its answer was given to another attempt"


def _over_cap(evidence: Evidence) -> Iterator[str]:
    """A frozen worker's calls go on at the provider while others have their places."""
    for at, level in levels(evidence.upstream.calls):
        if level > evidence.cap and not _is_zombie_time(at, evidence):
            yield f"{level} calls at once at {at:.3f}, and {evidence.cap} are allowed"


def _is_zombie_time(at: float, evidence: Evidence) -> bool:
    return any(since <= at <= until + ZOMBIE_SECONDS for since, until in evidence.frozen)


def expected_text(prompt: str, answer_tokens: int) -> str:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"type": "disabled"},
    }
    return simulated_answer(body, seed=0, answer_tokens=(answer_tokens, answer_tokens)).text
