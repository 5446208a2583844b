"""N tasks in flight at once, over M sockets."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import datetime

from tests.load.checks import Checker
from tests.load.goals import Figures, Goal
from tests.load.installation import StoredTask, Upstream
from tests.load.measure import percentile
from tests.load.recording import TaskRecord, Wave
from tests.load.result import Run, WaveResult
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count

#: The part of an answer that comes after the first token, in the shortest answer.
_STREAMED_SHARE = 0.8


class Flight(Scenario):
    """Overhead is the time from writing `task.submit` to reading the end, less the time that the
    simulator was told to take. It is an upper bound: whatever the simulator, the network and the
    load generator are late counts as aily's."""

    name = "flight"
    summary = "N tasks in flight at once, over M WebSockets"
    goals = (
        Goal("10,000 in flight at once", "tasks_in_flight_max", 10_000, at_least=True),
        Goal("none lost", "tasks_lost", 0),
        Goal("overhead p99 ≤ 1 s", "overhead_p99_seconds", 1.0),
        Goal("web + workers ≤ 2 GiB", "web_and_worker_rss_bytes", 2 * 2**30),
        Goal("CPU a task, web + workers ≤ 3 ms", "web_and_worker_cpu_ms_per_task", 3.0),
    )

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=10_000)
        parser.add_argument("--seconds", type=float, default=20.0, help="the shortest answer")
        parser.add_argument("--seconds-max", type=float, help="the longest one (1.5 × seconds)")
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
            "--ramp", type=float, help="seconds over which the submits are spread (0.9 × seconds)"
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
        """Shorter than the answers, so that the last is submitted before the first has ended."""
        ramp: float | None = self.options.ramp
        return float(self.options.seconds) * 0.9 if ramp is None else ramp

    @property
    def longest_seconds(self) -> float:
        given: float | None = self.options.seconds_max
        return float(self.options.seconds) * 1.5 if given is None else given

    def upstream(self) -> Upstream:
        options = self.options
        latency = options.seconds * (1 - _STREAMED_SHARE)
        return Upstream(options.seconds, latency, options.tokens, options.chunks)

    @property
    def wave(self) -> Wave:
        first_token = self.upstream().latency_seconds
        rounds = -(-self.options.tasks // self.cap)
        return Wave(
            tasks=self.options.tasks,
            ramp_seconds=self.ramp_seconds,
            stream=self.options.stream,
            latency_seconds=(
                first_token,
                first_token + self.longest_seconds - self.options.seconds,
            ),
            timeout_seconds=self.ramp_seconds + rounds * self.longest_seconds + PATIENCE_SECONDS,
        )

    def violations(self, run: Run) -> list[str]:
        checker = Checker(run, self.options.tokens)
        return checker.violations(self.options.tasks)

    def figures(self, run: Run) -> Figures:
        wave, upstream = run.wave, self.upstream()
        found = overhead_figures(wave, upstream)
        waits, calls, pushes = _stages(wave, run.stored, upstream)
        return {
            "tasks_in_flight_max": _most_at_once(wave.ended),
            "tasks_lost": len(wave.recording.tasks) - len(wave.ended),
            "throughput_tasks_per_second": len(wave.ended) / wave.recording.seconds,
            **found,
            "queue_p99_seconds": percentile(waits, 0.99),
            "call_overhead_p99_seconds": percentile(calls, 0.99),
            "push_p99_seconds": percentile(pushes, 0.99),
            "simulator_late_p99_seconds": run.simulator.get("late_p99_seconds"),
            "connects_refused": run.connected.refused,
            "attempts_repeated": sum(row.attempt > 1 for row in run.stored.values()),
            "deltas_per_task": _deltas(wave.ended),
        }


def overhead_figures(wave: WaveResult, upstream: Upstream) -> Figures:
    """Time from submit to end less the answer's own, and time from submit to acceptance."""
    overheads = overheads_of(wave, upstream)
    accepts = wave.accept_seconds
    return {
        "overhead_p50_seconds": percentile(overheads, 0.5),
        "overhead_p99_seconds": percentile(overheads, 0.99),
        "overhead_max_seconds": max(overheads, default=None),
        "accept_p50_seconds": percentile(accepts, 0.5),
        "accept_p99_seconds": percentile(accepts, 0.99),
    }


def overheads_of(wave: WaveResult, upstream: Upstream) -> list[float]:
    """Of every task that ended, in seconds."""
    return [
        _end(record) - record.sent_at - _answer_seconds(record.number, wave.wave, upstream)
        for record in wave.ended
    ]


def _answer_seconds(number: int, wave: Wave, upstream: Upstream) -> float:
    if wave.latency_seconds is None:
        return upstream.seconds
    return upstream.seconds - upstream.latency_seconds + wave.latency_of(number)


def _end(record: TaskRecord) -> float:
    assert record.ended_at is not None
    return record.ended_at


def _stages(
    wave: WaveResult, stored: Mapping[str, StoredTask], upstream: Upstream
) -> tuple[list[float], list[float], list[float]]:
    """Where time went, by the rows' own times: created to started; started to stored, less the
    answer's seconds; stored to seen by the client."""
    waits, calls, pushes = [], [], []
    for record in wave.ended:
        row = stored.get(record.task_id)
        if row is None or row.started_at is None or row.finished_at is None:
            continue
        seconds = _answer_seconds(record.number, wave.wave, upstream)
        waits.append(_between(row.created_at, row.started_at))
        calls.append(_between(row.started_at, row.finished_at) - seconds)
        pushes.append(_end(record) + wave.recording.unix_offset - row.finished_at.timestamp())
    return waits, calls, pushes


def _between(first: datetime, last: datetime) -> float:
    return (last - first).total_seconds()


def _most_at_once(ended: list[TaskRecord]) -> int:
    """Submitted and not ended, as the clients saw it."""
    steps: Iterator[tuple[float, int]] = (
        step for task in ended for step in ((task.sent_at, 1), (_end(task), -1))
    )
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _deltas(ended: list[TaskRecord]) -> float:
    deltas = sum(b'"task.delta"' in frame[:30] for record in ended for frame in record.frames)
    return deltas / max(len(ended), 1)
