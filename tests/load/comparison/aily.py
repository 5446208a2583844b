"""aily as a contender: `make run` in a directory of its own, which stores and queues each call."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.load.comparison.contenders import Contender, family
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import Groups

_ROOM = 1000


class _BeforeASimulator(Installation):
    """An installation whose simulator is the comparison's, and runs already."""

    def start_simulator(self) -> None:
        pass


class Aily(Contender):
    """All of its processes count: web, workers, PostgreSQL, Valkey, scheduler, launcher."""

    name = "aily"
    about = "aily: stores, queues and accounts for each call"
    #: Where calls are sent, and what a user's request for a waiting answer is.
    path = "/v1/chat/completions"

    def __init__(self, simulator_url: str, scratch: Path, options: argparse.Namespace) -> None:
        super().__init__(simulator_url, scratch)
        self._users: int = options.users
        environment = {
            "WEB_PROCESSES": str(options.web),
            "WORKER_PROCESSES": str(options.workers),
            "WEB_SERVER": options.server,
        }
        nothing = Upstream(seconds=0, latency_seconds=0, tokens=0, chunks=1)
        self._installation = _BeforeASimulator(scratch, nothing, environment)
        self._installation.simulator_url = simulator_url

    def start(self) -> None:
        self._installation.start()
        keys = self._installation.seed(self._users, cap=_ROOM, thinking=True)
        self.headers = [{"Authorization": f"Bearer {key}"} for key in keys]
        self.url = self._installation.base_url + self.path
        self._groups = Groups(None, self._installation.launcher)
        time.sleep(MODELS_KNOWN_SECONDS)

    def stop(self) -> None:
        self._installation.stop()

    def cpu_seconds(self) -> Mapping[str, float]:
        return self._groups.cpu_seconds()

    def processes(self) -> list[psutil.Process]:
        return family(self._installation.launcher)

    def log_files(self) -> Mapping[str, Path]:
        return self._installation.log_files()

    def violations(self, answered: int) -> list[str]:
        """Each answered call is a stored task that succeeded, and there are no others."""
        tasks = self._installation.stored_tasks().values()
        succeeded = sum(task.status == "succeeded" for task in tasks)
        if succeeded == answered == len(tasks):
            return []
        return [f"{answered} calls were answered; {succeeded} of {len(tasks)} tasks succeeded"]
