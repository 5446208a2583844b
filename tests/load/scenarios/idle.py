"""What one task takes longer than its answer while nothing else is going on."""

from __future__ import annotations

import argparse

from tests.load.checks import Checker
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.recording import Wave
from tests.load.result import Run
from tests.load.scenarios.flight import overhead_figures
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count

_TOKENS = 20


class Idle(Scenario):
    """One task after the other over one socket."""

    name = "idle"
    summary = "the overhead of one task at a time"
    goals = (Goal("overhead of one task ≤ 25 ms", "overhead_p50_seconds", 0.025),)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=30)
        parser.add_argument("--seconds", type=float, default=0.5, help="length of an answer")

    @property
    def users(self) -> int:
        return 1

    @property
    def cap(self) -> int:
        return 10

    def upstream(self) -> Upstream:
        seconds = self.options.seconds
        return Upstream(seconds, seconds / 2, tokens=_TOKENS, chunks=5)

    @property
    def wave(self) -> Wave:
        options = self.options
        timeout = options.tasks * options.seconds * 2 + PATIENCE_SECONDS
        return Wave(tasks=options.tasks, one_by_one=True, timeout_seconds=timeout)

    def violations(self, run: Run) -> list[str]:
        return Checker(run, _TOKENS).violations(self.options.tasks)

    def figures(self, run: Run) -> Figures:
        return overhead_figures(run.wave, self.upstream())
