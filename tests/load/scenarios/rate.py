"""How many tasks a second go through: an open loop that does not wait for answers."""

from __future__ import annotations

import argparse

from tests.load.checks import Checker
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.measure import percentile
from tests.load.recording import Wave
from tests.load.result import Run, WaveResult
from tests.load.scenarios.flight import overhead_figures, overheads_of
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count

P99_SECONDS = 0.25
#: The first seconds of a step still show the one before.
_SETTLE_SECONDS = 2.0


class Rate(Scenario):
    """Steps of a higher rate each, until the p99 overhead exceeds 250 ms or a task is lost. A step
    is judged by the tasks submitted after its first two seconds; the sustained rate is that of the
    last step that held."""

    name = "rate"
    summary = "tasks a second that are sustained with a p99 overhead of 250 ms"
    goals = (
        Goal("≥ 250 tasks/s with p99 ≤ 250 ms", "sustained_tasks_per_second", 250, at_least=True),
    )

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--start", type=count, default=100, help="tasks a second at first")
        parser.add_argument("--step", type=count, default=50, help="more of them with each step")
        parser.add_argument("--stop", type=count, default=600, help="the last step")
        parser.add_argument("--step-seconds", type=float, default=10.0)
        parser.add_argument("--seconds", type=float, default=2.0, help="length of an answer")
        parser.add_argument("--sockets", type=count, default=500)
        parser.add_argument("--tokens", type=count, default=100)
        parser.add_argument("--chunks", type=count, default=10)

    @property
    def users(self) -> int:
        return int(self.options.sockets)

    @property
    def cap(self) -> int:
        return 20_000

    def upstream(self) -> Upstream:
        options = self.options
        return Upstream(options.seconds, options.seconds / 5, options.tokens, options.chunks)

    def next_wave(self, done: list[WaveResult]) -> Wave | None:
        options = self.options
        rate = options.start + options.step * len(done)
        if rate > options.stop or (done and not self._held(done[-1])):
            return None
        return Wave(
            tasks=int(rate * options.step_seconds),
            first_number=sum(wave.wave.tasks for wave in done),
            ramp_seconds=options.step_seconds,
            timeout_seconds=options.step_seconds + options.seconds + PATIENCE_SECONDS,
        )

    def _held(self, step: WaveResult) -> bool:
        p99 = percentile(overheads_of(_settled(step), self.upstream()), 0.99)
        return len(step.ended) == step.wave.tasks and p99 is not None and p99 <= P99_SECONDS

    def violations(self, run: Run) -> list[str]:
        wanted = sum(wave.wave.tasks for wave in run.waves)
        return Checker(run, self.options.tokens).violations(wanted)

    def figures(self, run: Run) -> Figures:
        held = [step for step in run.waves if self._held(step)]
        found: Figures = {"sustained_tasks_per_second": _rate(held[-1]) if held else 0.0}
        if held:
            found |= overhead_figures(_settled(held[-1]), self.upstream())
            found["sustained_cpu_ms_per_task"] = held[-1].cpu_ms_per_task("web", "worker")
        for step in run.waves:
            overheads = overheads_of(_settled(step), self.upstream())
            found[f"at_{_rate(step):.0f}_overhead_p50_seconds"] = percentile(overheads, 0.5)
            found[f"at_{_rate(step):.0f}_overhead_p99_seconds"] = percentile(overheads, 0.99)
        return found


def _rate(step: WaveResult) -> float:
    return step.wave.tasks / (step.wave.ramp_seconds or 1.0)


def _settled(step: WaveResult) -> WaveResult:
    """The step without the tasks of its first seconds."""
    since = step.recording.started_at + min(_SETTLE_SECONDS, (step.wave.ramp_seconds or 0.0) / 2)
    tasks = [record for record in step.recording.tasks if record.sent_at >= since]
    recording = type(step.recording)(
        started_at=since,
        ended_at=step.recording.ended_at,
        unix_offset=step.recording.unix_offset,
        tasks=tasks,
        errors=step.recording.errors,
        timer_lags_seconds=step.recording.timer_lags_seconds,
    )
    return WaveResult(step.wave, recording, step.cpu_seconds, step.machine_cpu_seconds)
