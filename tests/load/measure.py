"""CPU time and memory of an installation's processes, summed by part."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from tests.running import Running

#: Parts whose CPU a task costs.
PARTS = ("web", "worker", "scheduler", "postgres", "valkey")
#: The first word that a command line holds decides; processes of the launcher itself are "other".
_WORDS = (
    ("daphne", "web"),
    ("aily.web.servers.uvicorn", "web"),
    ("dramatiq", "worker"),
    ("crontab", "scheduler"),
    ("postgres", "postgres"),
    ("valkey", "valkey"),
)
#: A sample looks at every process of the machine, which competes for the same two cores.
_SAMPLE_SECONDS = 2.0


class Groups:
    """The processes under test by part: web, worker, scheduler, postgres, valkey, simulator,
    generator and other. Looked up anew each time, as database sessions come and go."""

    def __init__(self, simulator: psutil.Process | None, launcher: psutil.Process) -> None:
        self._simulator = simulator
        self._launcher = launcher
        self.generator: psutil.Process | None = None

    def _members(self) -> Iterator[tuple[str, psutil.Process]]:
        if self._simulator is not None:
            yield "simulator", self._simulator
        if self.generator is not None:
            yield "generator", self.generator
        yield "other", self._launcher
        for process in self._launcher.children(recursive=True):
            try:
                command = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            yield next((part for word, part in _WORDS if word in command), "other"), process

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time so far by part.

        The time of children that have ended counts for their parent, so that a database session
        that closes in between takes nothing away.
        """
        total: defaultdict[str, float] = defaultdict(float)
        for part, process in self._members():
            try:
                total[part] += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory by part. PostgreSQL's sessions each count the buffers they share."""
        total: defaultdict[str, int] = defaultdict(int)
        for part, process in self._members():
            try:
                total[part] += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total


class PeakMemory(Running):
    """Samples memory on a thread while its context lasts."""

    def __init__(self, groups: Groups) -> None:
        self.peak_bytes: dict[str, int] = {}
        self._groups = groups
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for part, size in self._groups.rss_bytes().items():
                self.peak_bytes[part] = max(size, self.peak_bytes.get(part, 0))
            if self._ended.wait(_SAMPLE_SECONDS):
                return


def measured(groups: Groups, tasks: int, load: Callable[[], int]) -> tuple[dict[str, Any], int]:
    """Wall time of a load, and CPU a task by part; and what the load returns."""
    before, started_at = groups.cpu_seconds(), time.monotonic()
    wrong = load()
    seconds, after = time.monotonic() - started_at, groups.cpu_seconds()
    parts = {part: round((after[part] - before[part]) * 1000 / tasks, 3) for part in PARTS}
    return {"seconds": seconds, "cpu_ms": round(sum(parts.values()), 3), "parts": parts}, wrong


def busy_cpu_seconds() -> float:
    """What all processors of the machine have worked so far, whoever it was for."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def summed(values: dict[str, float] | dict[str, int], *parts: str) -> float:
    """Of these parts together; one that is missing counts nothing."""
    return sum(values.get(part, 0) for part in parts)


def percentile(values: list[float], share: float) -> float | None:
    """The value that `share` (0 to 1) of all values do not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
