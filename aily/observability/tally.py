"""Counters for the hottest paths: an addition in memory, told to Prometheus once a second."""

from __future__ import annotations

from typing import ClassVar

from prometheus_client import Counter


class Tally:
    """Counts on the event loop's thread: `tally.n += 1` costs 50 ns, an `inc` 1 µs."""

    _all: ClassVar[list[Tally]] = []

    def __init__(self, name: str, documentation: str) -> None:
        self.n = 0
        self._told = 0
        self._counter = Counter(name, documentation)
        self._all.append(self)

    def tell(self) -> None:
        n = self.n
        self._counter.inc(n - self._told)
        self._told = n

    @classmethod
    def tell_all(cls) -> None:
        """Called by the pulse."""
        for tally in cls._all:
            tally.tell()
