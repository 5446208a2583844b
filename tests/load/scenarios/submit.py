"""How fast tasks are accepted: each of M sockets submits the next when the last was accepted."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from tests.load.checks import accepted_only
from tests.load.installation import StoredTask, Upstream
from tests.load.measure import percentile
from tests.load.recording import Load, Recording
from tests.load.scenarios.scenario import Figures, Scenario, count


class Submit(Scenario):
    """The provider takes one call at a time, so that nearly all stay queued and the cost is that
    of accepting alone."""

    name = "submit"
    summary = "N submits over M WebSockets, one under way a socket, and no answers"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tasks", type=count, default=2000)
        parser.add_argument("--sockets", type=count, default=50)

    @property
    def users(self) -> int:
        return int(self.options.sockets)

    @property
    def cap(self) -> int:
        return 1

    def upstream(self) -> Upstream:
        return Upstream(seconds=5, latency_seconds=5, tokens=1, chunks=1)

    def load(self, url: str, keys: list[str]) -> Load:
        return Load(
            url=url, keys=keys, tasks=self.options.tasks, timeout_seconds=120, wait_for_end=False
        )

    def violations(self, recording: Recording, stored: Mapping[str, StoredTask]) -> list[str]:
        return accepted_only(recording, stored)

    def figures(self, recording: Recording, stored: Mapping[str, StoredTask]) -> Figures:
        accepts = [
            record.accepted_at - record.sent_at
            for record in recording.tasks
            if record.accepted_at is not None
        ]
        return {
            "throughput_tasks_per_second": len(accepts)
            / (recording.ended_at - recording.started_at),
            "accept_p50_seconds": percentile(accepts, 0.5),
            "accept_p99_seconds": percentile(accepts, 0.99),
        }
