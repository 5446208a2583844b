"""One thread a process that samples it every second: CPU, memory, pool, event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import cast

import psutil
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL

from aily.concurrency.faults import surviving
from aily.observability import metrics
from aily.observability.shared_files import write_changes

logger = logging.getLogger(__name__)

SECONDS = 1.0
#: An event loop that is blocked for so long counts as dead.
DEAD_SECONDS = 30.0


class Pulse:
    """Takes less than 0.1 ms of CPU each second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._samplers: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_ran_at = time.monotonic()
        self._cpu_seconds = 0.0

    def start(self) -> None:
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure the lag of this loop; the process counts as dead if it is blocked."""
        if self._loop is None:
            self._loop_ran_at = time.monotonic()
            self._loop = loop

    def add(self, sampler: Callable[[], None]) -> None:
        """Have `sampler` called every second, on the pulse's thread."""
        self._samplers.append(sampler)

    def is_alive(self) -> bool:
        """False once the watched event loop has been blocked for DEAD_SECONDS."""
        return self._loop is None or time.monotonic() - self._loop_ran_at < DEAD_SECONDS

    def _beat(self) -> None:
        while True:
            try:
                self._sample()
            except Exception:
                logger.exception("the pulse failed")
            time.sleep(SECONDS)

    def _sample(self) -> None:
        cpu = self._process.cpu_times()
        cpu_seconds = cpu.user + cpu.system
        metrics.cpu_usage().inc(cpu_seconds - self._cpu_seconds)
        self._cpu_seconds = cpu_seconds
        metrics.memory().set(self._process.memory_info().rss)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._note_lag, time.monotonic())
        for sampler in self._samplers:
            with surviving("pulse"):
                sampler()
        write_changes()

    def _note_lag(self, scheduled_at: float) -> None:
        self._loop_ran_at = time.monotonic()
        metrics.loop_lag().observe(self._loop_ran_at - scheduled_at)


def sample_pool() -> None:
    """Record the use of this process's database pool."""
    # Django keeps one pool a process; this thread's own wrapper takes no connection.
    stats = cast("PostgreSQL", connection).pool.get_stats()
    size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
    metrics.pool_connections("idle").set(idle)
    metrics.pool_connections("used").set(size - idle)
    metrics.pool_waiting().set(stats.get("requests_waiting", 0))
