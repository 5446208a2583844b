"""How fast tasks are accepted: each of M users submits the next when the last was accepted."""

from __future__ import annotations

import argparse

from tests.load.checks import accepted_only
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.measure import percentile
from tests.load.recording import Wave
from tests.load.result import Run
from tests.load.scenarios.scenario import Scenario, count


class Submit(Scenario):
    """The provider takes one call at a time, so that nearly all stay queued and the cost is that
    of accepting alone."""

    name = "submit"
    summary = "N submits of M users over WebSockets, one under way a user, and no answers"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=5000)
        parser.add_argument("--users", type=count, default=50)

    @property
    def users(self) -> int:
        return int(self.options.users)

    @property
    def cap(self) -> int:
        return 1

    def upstream(self) -> Upstream:
        return Upstream(seconds=5, latency_seconds=5, tokens=1, chunks=1)

    @property
    def wave(self) -> Wave:
        return Wave(tasks=self.options.tasks, timeout_seconds=120, wait_for_end=False)

    def violations(self, run: Run) -> list[str]:
        return accepted_only(run.wave.recording, run.stored)

    def figures(self, run: Run) -> Figures:
        accepts = run.wave.accept_seconds
        return {
            "throughput_tasks_per_second": len(accepts) / run.wave.recording.seconds,
            "web_cpu_ms_per_task": run.wave.cpu_ms_per_task("web"),
            "accept_p50_seconds": percentile(accepts, 0.5),
            "accept_p99_seconds": percentile(accepts, 0.99),
        }


class SubmitOverHTTP(Submit):
    """The same by requests that do not wait for the answer."""

    name = "submit_http"
    summary = "N submits of M users over HTTP, one under way a user, and no answers"
    goals = (
        Goal("≥ 1,000 submits/s over HTTP", "throughput_tasks_per_second", 1000, at_least=True),
        Goal("CPU of the web process a submit ≤ 0.8 ms", "web_cpu_ms_per_task", 0.8),
    )
    over_sockets = False
