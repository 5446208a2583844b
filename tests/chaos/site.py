"""The installation that is harmed: its processes, its servers, its rows."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import psycopg
import redis

from aily.embedded import database_url, redis_url
from tests.load.installation import Installation

#: Part of the command line of each kind of process.
KINDS = {
    "web": "daphne",
    "worker": "dramatiq",
    "scheduler": "crontab",
    "valkey": "valkey-server",
    "postgres": "postgres",
}


class Site:
    """What a harm needs: which processes there are, and a seeded draw among them."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self.installation = installation
        self.random = random.Random(seed)
        #: (task id, attempt) of the calls of workers that were frozen until others had them.
        self.zombie_calls: set[tuple[str, int]] = set()
        #: Unix times from which to which such a worker was frozen.
        self.frozen: list[tuple[float, float]] = []

    def processes(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind that have no parent of the same kind: killing those is enough."""
        word = KINDS[kind]
        found = []
        for process in self.installation.launcher.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                parent = process.parent()
                above = " ".join(parent.cmdline()) if parent else ""
                if word in " ".join(process.cmdline()) and word not in above:
                    found.append(process)
        return found

    def signal(self, kind: str, number: signal.Signals) -> None:
        """Send a signal to one process of the kind, if any runs."""
        if processes := self.processes(kind):
            with suppress(psutil.NoSuchProcess):
                self.random.choice(processes).send_signal(number)

    def empty_redis(self) -> None:
        with suppress(redis.RedisError), redis.Redis.from_url(self._redis_url) as client:
            client.flushall()

    @property
    def _redis_url(self) -> str:
        return redis_url(self.installation.data_dir, 0)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url(self.installation.data_dir)) as connection:
            return connection.execute(sql, params).fetchall()


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Raises TimeoutError. A database that is away counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(psycopg.OperationalError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)
