"""How busy this process is."""

from __future__ import annotations

import time

#: Over which time its CPU time is looked at.
_WINDOW_SECONDS = 0.5


class CpuShare:
    """The share of one processor that this process has used of late."""

    def __init__(self) -> None:
        self._share = 0.0
        self._begin()

    def _begin(self) -> None:
        self._began_at, self._cpu_seconds = time.monotonic(), time.process_time()

    def read(self) -> float:
        seconds = time.monotonic() - self._began_at
        if seconds >= _WINDOW_SECONDS:
            self._share = (time.process_time() - self._cpu_seconds) / seconds
            self._begin()
        return self._share
