"""Whether the disk of the data directory has room for new data."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Looking takes 2 µs; a second's submits write a few megabytes.
_MEASURE_SECONDS = 0.5


class DiskRoom:
    """The free bytes of a directory's file system, looked up at most twice a second."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._measured_at = -_MEASURE_SECONDS
        self._free_bytes = 0

    def is_below(self, min_free_bytes: int) -> bool:
        """Whether fewer bytes are free. False if they cannot be looked up."""
        now = time.monotonic()
        if now - self._measured_at >= _MEASURE_SECONDS:
            self._measured_at = now
            self._free_bytes = self._measure(default=min_free_bytes)
        return self._free_bytes < min_free_bytes

    def _measure(self, default: int) -> int:
        try:
            status = os.statvfs(self._directory)
        except OSError:
            return default
        # What root alone may use does not count: PostgreSQL runs as another user.
        return status.f_bavail * status.f_frsize
