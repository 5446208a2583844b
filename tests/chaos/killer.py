"""Ends processes of an installation in the ways that machines and operators do."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import redis

#: Part of the command line of each kind of process.
KINDS = {
    "web": "daphne",
    "worker": "dramatiq",
    "scheduler": "crontab",
    "valkey": "valkey-server",
    "postgres": "postgres",
}


class Killer:
    """Does one harm at a time to the children of `launcher`, chosen by a seeded draw."""

    def __init__(self, launcher: psutil.Process, redis_url: str, seed: int) -> None:
        self._launcher = launcher
        self._redis_url = redis_url
        self._random = random.Random(seed)
        self.done: list[str] = []

    def strike(self) -> str:
        """Do one harm. Returns what it was."""
        harms: list[tuple[str, Callable[[], object]]] = [
            ("kill a web process", lambda: self._signal("web", signal.SIGKILL)),
            ("kill a worker process", lambda: self._signal("worker", signal.SIGKILL)),
            ("stop a worker in order", lambda: self._signal("worker", signal.SIGTERM)),
            ("freeze a worker", lambda: self._freeze("worker", 3)),
            ("kill the scheduler", lambda: self._signal("scheduler", signal.SIGKILL)),
            ("kill Valkey", lambda: self._signal("valkey", signal.SIGKILL)),
            ("empty Valkey", self._empty_redis),
            ("kill PostgreSQL", lambda: self._signal("postgres", signal.SIGKILL)),
        ]
        name, harm = self._random.choice(harms)
        harm()
        self.done.append(name)
        return name

    def _processes(self, kind: str) -> Iterator[psutil.Process]:
        """Processes of a kind that have no parent of the same kind: killing those is enough."""
        word = KINDS[kind]
        for process in self._launcher.children(recursive=True):
            try:
                command = " ".join(process.cmdline())
                parent = process.parent()
                parent_command = " ".join(parent.cmdline()) if parent else ""
            except psutil.NoSuchProcess:
                continue
            if word in command and word not in parent_command:
                yield process

    def _signal(self, kind: str, number: signal.Signals) -> None:
        processes = list(self._processes(kind))
        if processes:
            try:
                self._random.choice(processes).send_signal(number)
            except psutil.NoSuchProcess:
                return

    def _freeze(self, kind: str, seconds: float) -> None:
        processes = list(self._processes(kind))
        if not processes:
            return
        chosen = self._random.choice(processes)
        family = [chosen, *chosen.children(recursive=True)]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in family:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
            if number == signal.SIGSTOP:
                time.sleep(seconds)

    def _empty_redis(self) -> None:
        try:
            redis.Redis.from_url(self._redis_url).flushall()
        except redis.RedisError:
            return
