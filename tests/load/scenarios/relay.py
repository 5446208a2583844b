"""How long a piece of an answer is on its way: from the simulator's write to the client's frame."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import msgspec

from tests.load.checks import events_of, streamed_text, wrong_end, wrong_order
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.measure import percentile
from tests.load.recording import TaskRecord, Wave
from tests.load.result import Run
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count


class Relay(Scenario):
    """Each token of these answers is the moment at which it was sent, by the clock that the load
    generator stamps frames with. Only what comes while all streams run is counted."""

    name = "relay"
    summary = "the lag of N streams with R deltas a second each"
    goals = (Goal("relay lag p99 ≤ 150 ms", "relay_lag_p99_seconds", 0.15),)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=500, help="streams")
        parser.add_argument("--deltas", type=count, default=10, help="deltas a second of each")
        parser.add_argument("--seconds", type=float, default=20.0, help="length of an answer")
        parser.add_argument("--ramp", type=float, default=5.0)

    @property
    def users(self) -> int:
        return int(self.options.tasks)

    @property
    def cap(self) -> int:
        return int(self.options.tasks)

    @property
    def tokens(self) -> int:
        return int(self.options.seconds * self.options.deltas)

    def upstream(self) -> Upstream:
        seconds = self.options.seconds
        return Upstream(seconds, latency_seconds=0.0, tokens=self.tokens, chunks=self.tokens)

    @property
    def wave(self) -> Wave:
        options = self.options
        return Wave(
            tasks=options.tasks,
            ramp_seconds=options.ramp,
            stream=True,
            directives="clock",
            stamp_frames=True,
            timeout_seconds=options.ramp + options.seconds + PATIENCE_SECONDS,
        )

    def violations(self, run: Run) -> list[str]:
        found = list(run.wave.recording.errors)
        for record in run.wave.recording.tasks:
            found += [f"task {record.number}: {problem}" for problem in self._problems(record, run)]
        return found

    def _problems(self, record: TaskRecord, run: Run) -> Iterator[str]:
        row = run.stored.get(record.task_id)
        if row is None:
            yield "not accepted, or not stored"
            return
        events = events_of(record)
        yield from wrong_order(events, gapless=True)
        yield from wrong_end(events, row)
        text = streamed_text(events)
        if text != row.text:
            yield "the streamed text differs from the stored one"
        numbers = [number for number, _ in _tokens(text)]
        if numbers != list(range(self.tokens)):
            yield f"{len(numbers)} tokens came, not all of {self.tokens} once and in order"

    def figures(self, run: Run) -> Figures:
        recording = run.wave.recording
        since = recording.started_at + self.options.ramp + 1.0
        until = recording.started_at + self.options.seconds
        lags, frames = [], 0
        for record in recording.tasks:
            for text, stamp in _deltas(record):
                if since <= stamp <= until:
                    frames += 1
                    lags += [stamp - moment for _, moment in _tokens(text)]
        seconds = max(until - since, 0.001)
        return {
            "relay_lag_p50_seconds": percentile(lags, 0.5),
            "relay_lag_p99_seconds": percentile(lags, 0.99),
            "relay_lag_max_seconds": max(lags, default=None),
            "deltas_sent_per_second": len(lags) / seconds,
            "frames_received_per_second": frames / seconds,
            "web_and_worker_cpu_ms_per_delta": run.wave.cpu_ms_per_task("web", "worker")
            / self.tokens,
        }


def _deltas(record: TaskRecord) -> Iterator[tuple[str, float]]:
    for frame, stamp in zip(record.frames, record.stamps, strict=True):
        event = msgspec.json.decode(frame)
        if event["type"] == "task.delta":
            yield event["text"], stamp


def _tokens(text: str) -> Iterator[tuple[int, float]]:
    """`"17@123.456789 "` is token 17, sent at 123.456789 s."""
    for token in text.split():
        number, _, moment = token.partition("@")
        yield int(number), float(moment)
