"""A provider that allows few calls at once: never more of them than that, and hardly ever fewer."""

from __future__ import annotations

import argparse

from tests.journal import most_at_once, share_used
from tests.load.checks import Checker
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.recording import Wave
from tests.load.result import Run
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count


class Lease(Scenario):
    """Used is the integral of the calls at once, from the beginning of the first to the end of the
    last, divided by cap times that time: by the simulator's own journal."""

    name = "lease"
    summary = "N tasks queued for a model that allows C calls at once"
    workers = 4
    goals = (
        Goal("never more calls than the cap", "calls_at_once_over_cap", 0),
        Goal("no 429", "refused_429", 0),
        Goal("≥ 95 % of the cap used from first to last", "cap_used_percent", 95, at_least=True),
    )

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--cap", type=count, default=50, help="calls the provider allows")
        parser.add_argument("--tasks", type=count, help="all submitted at once (20 × cap)")
        parser.add_argument("--seconds", type=float, default=2.0, help="length of an answer")
        parser.add_argument("--sockets", type=count, default=20)
        parser.add_argument("--tokens", type=count, default=50)
        parser.add_argument("--chunks", type=count, default=5)

    @property
    def users(self) -> int:
        return int(self.options.sockets)

    @property
    def cap(self) -> int:
        return int(self.options.cap)

    @property
    def tasks(self) -> int:
        return int(self.options.tasks or 20 * self.cap)

    def upstream(self) -> Upstream:
        options = self.options
        return Upstream(
            options.seconds,
            options.seconds / 5,
            options.tokens,
            options.chunks,
            concurrency=self.cap,
            is_journaled=True,
        )

    @property
    def wave(self) -> Wave:
        """All at once, as in "queued"; a rate would measure how fast tasks are accepted."""
        rounds = self.tasks / self.cap
        timeout_seconds = rounds * self.options.seconds + PATIENCE_SECONDS
        return Wave(tasks=self.tasks, ramp_seconds=0.0, timeout_seconds=timeout_seconds)

    def violations(self, run: Run) -> list[str]:
        found = Checker(run, self.options.tokens).violations(self.tasks)
        figures = self.figures(run)
        for name in ("calls_at_once_over_cap", "refused_429"):
            if figures[name]:
                found.append(f"{name} is {figures[name]}, not 0")
        return found

    def figures(self, run: Run) -> Figures:
        assert run.upstream is not None
        calls = run.upstream.calls
        most = most_at_once(calls)
        return {
            "calls": len(calls),
            "calls_at_once_max": most,
            "calls_at_once_over_cap": max(most - self.cap, 0),
            "refused_429": run.upstream.refused[429],
            "cap_used_percent": 100 * share_used(calls, self.cap) if calls else None,
            "tasks_lost": len(run.tasks) - len(run.wave.ended),
        }
