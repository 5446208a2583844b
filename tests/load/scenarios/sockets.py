"""What an open socket costs while nothing comes over it."""

from __future__ import annotations

import argparse

from tests.load.checks import Checker
from tests.load.goals import Figures, Goal
from tests.load.installation import Upstream
from tests.load.measure import summed
from tests.load.recording import Wave
from tests.load.result import Run
from tests.load.scenarios.scenario import PATIENCE_SECONDS, Scenario, count

_TOKENS = 10


class Sockets(Scenario):
    """Open M sockets and leave them alone. In the end a task over each tenth of them shows that
    they still work."""

    name = "sockets"
    summary = "connect rate, memory and idle CPU of M WebSockets"
    goals = (Goal("a socket ≤ 40 KiB in the web process", "web_rss_bytes_per_socket", 40 * 1024),)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--sockets", type=count, default=5_000)

    @property
    def users(self) -> int:
        return int(self.options.sockets)

    @property
    def cap(self) -> int:
        return 1_000

    def upstream(self) -> Upstream:
        return Upstream(seconds=1, latency_seconds=0.5, tokens=_TOKENS, chunks=2)

    @property
    def wave(self) -> Wave:
        tasks = max(self.users // 10, 1)
        return Wave(tasks=tasks, ramp_seconds=tasks / 50, timeout_seconds=PATIENCE_SECONDS)

    def violations(self, run: Run) -> list[str]:
        return Checker(run, _TOKENS).violations(max(self.users // 10, 1))

    def figures(self, run: Run) -> Figures:
        connected = run.connected
        thousands = connected.sockets / 1000
        idle = summed(run.idle_cpu_share, "web") - summed(run.idle_cpu_share_before, "web")
        return {
            "connects_refused": connected.refused,
            "connects_per_second": connected.sockets / connected.seconds,
            "web_cpu_ms_per_socket": summed(connected.cpu_seconds, "web")
            * 1000
            / connected.sockets,
            "web_rss_bytes_per_socket": connected.rss_bytes / connected.sockets,
            "idle_web_cpu_ms_per_second_per_1000_sockets": idle * 1000 / thousands,
        }
