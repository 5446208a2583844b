"""N tasks of S seconds, all in flight at once, over M sockets."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import datetime

from tests.load.checks import Checker
from tests.load.installation import StoredTask, Upstream
from tests.load.measure import percentile
from tests.load.recording import Load, Recording, TaskRecord
from tests.load.scenarios.scenario import Figures, Scenario, count

#: A run is given up when this much longer than its tasks take.
PATIENCE_SECONDS = 60


class Flight(Scenario):
    """Overhead is the time from writing `task.submit` to reading the end, less the S seconds
    that the simulator is told to take. It is an upper bound: whatever the simulator, the network
    and the load generator are late counts as aily's."""

    name = "flight"
    summary = "N tasks of S seconds in flight at once, over M WebSockets"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=500)
        parser.add_argument("--seconds", type=float, default=5.0, help="length of an answer")
        parser.add_argument("--sockets", type=count, help="each of a user of its own (= tasks)")
        parser.add_argument(
            "--stream",
            action=argparse.BooleanOptionalAction,
            default=False,
            help="have the deltas pushed as well",
        )
        parser.add_argument("--tokens", type=count, default=100, help="tokens of an answer")
        parser.add_argument(
            "--chunks", type=count, default=10, help="network writes that they come in"
        )
        parser.add_argument(
            "--ramp", type=float, help="seconds over which the submits are spread (seconds / 2)"
        )
        parser.add_argument("--cap", type=count, help="calls the provider allows (= tasks)")

    @property
    def users(self) -> int:
        return int(self.options.sockets or self.options.tasks)

    @property
    def cap(self) -> int:
        return int(self.options.cap or self.options.tasks)

    @property
    def ramp_seconds(self) -> float:
        ramp: float | None = self.options.ramp
        return float(self.options.seconds) / 2 if ramp is None else ramp

    def upstream(self) -> Upstream:
        """A fifth of the time passes before the first token."""
        options = self.options
        return Upstream(options.seconds, options.seconds / 5, options.tokens, options.chunks)

    def load(self, url: str, keys: list[str]) -> Load:
        rounds = -(-self.options.tasks // self.cap)
        return Load(
            url=url,
            keys=keys,
            tasks=self.options.tasks,
            ramp_seconds=self.ramp_seconds,
            stream=self.options.stream,
            timeout_seconds=self.ramp_seconds + rounds * self.options.seconds + PATIENCE_SECONDS,
        )

    def violations(self, recording: Recording, stored: Mapping[str, StoredTask]) -> list[str]:
        checker = Checker(stored, self.options.tokens, stream=self.options.stream)
        return checker.violations(recording, self.options.tasks)

    def figures(self, recording: Recording, stored: Mapping[str, StoredTask]) -> Figures:
        seconds: float = self.options.seconds
        ended = [record for record in recording.tasks if record.ended_at is not None]
        overheads = [_end(record) - record.sent_at - seconds for record in ended]
        accepts = [
            record.accepted_at - record.sent_at
            for record in recording.tasks
            if record.accepted_at is not None
        ]
        waits, calls, pushes = _stages(ended, stored, seconds, recording.unix_offset)
        return {
            "tasks_in_flight_max": _most_at_once(ended),
            "throughput_tasks_per_second": len(ended) / (recording.ended_at - recording.started_at),
            "overhead_p50_seconds": percentile(overheads, 0.5),
            "overhead_p99_seconds": percentile(overheads, 0.99),
            "overhead_max_seconds": max(overheads, default=None),
            "accept_p50_seconds": percentile(accepts, 0.5),
            "accept_p99_seconds": percentile(accepts, 0.99),
            "queue_p99_seconds": percentile(waits, 0.99),
            "call_overhead_p99_seconds": percentile(calls, 0.99),
            "push_p99_seconds": percentile(pushes, 0.99),
            "attempts_repeated": sum(row.attempt > 1 for row in stored.values()),
            "deltas_per_task": _deltas(ended),
        }


def _end(record: TaskRecord) -> float:
    assert record.ended_at is not None
    return record.ended_at


def _stages(
    ended: list[TaskRecord], stored: Mapping[str, StoredTask], seconds: float, unix_offset: float
) -> tuple[list[float], list[float], list[float]]:
    """Where time went, by the rows' own times: created to started; started to stored, less the
    answer's `seconds`; stored to seen by the client."""
    waits, calls, pushes = [], [], []
    for record in ended:
        row = stored.get(record.task_id)
        if row is None or row.started_at is None or row.finished_at is None:
            continue
        waits.append(_between(row.created_at, row.started_at))
        calls.append(_between(row.started_at, row.finished_at) - seconds)
        pushes.append(_end(record) + unix_offset - row.finished_at.timestamp())
    return waits, calls, pushes


def _between(first: datetime, last: datetime) -> float:
    return (last - first).total_seconds()


def _most_at_once(ended: list[TaskRecord]) -> int:
    """Submitted and not ended, as the clients saw it."""
    steps: Iterator[tuple[float, int]] = (
        step for one in ended for step in ((one.sent_at, 1), (_end(one), -1))
    )
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _deltas(ended: list[TaskRecord]) -> float:
    deltas = sum('"task.delta"' in frame[:30] for record in ended for frame in record.frames)
    return deltas / max(len(ended), 1)
