"""The files through which processes share their metrics, on a disk that may be full.

prometheus_client makes a sparse file and maps it into memory: when the disk is full, the first
write to a page of it kills the process (SIGBUS). Here blocks are allocated before they are mapped.
If there are none left, the values are kept in memory until there is room again.

Where the pulse runs, what has changed is written once a second: a task changes twenty values, most
of them of the same series (what that saves: docs/performance.md). A process that is killed loses
the counts of its last second.
"""

from __future__ import annotations

import mmap
import os
import struct
from io import BytesIO
from multiprocessing.util import Finalize
from pathlib import Path

from prometheus_client import mmap_dict, values

_INITIAL_BYTES = 1 << 16
#: A file begins with the number of bytes in use, and padding.
_HEADER = struct.Struct("ii")
_HEADER_BYTES = _HEADER.size
#: What an entry takes besides its key, at most: its length, padding and two doubles.
_ENTRY_BYTES = 32

#: Those of this process that have no file at the moment.
_without_file: set[AllocatedDict] = set()
#: All that are open.
_open: set[AllocatedDict] = set()
#: Whether the pulse writes what has changed.
_has_writer = False


class AllocatedDict(mmap_dict.MmapedDict):
    """prometheus_client's dictionary, whose file has blocks for every byte that is mapped."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        #: Values and timestamps that are not written yet, by key.
        self._changed: dict[str, tuple[float, float]] = {}
        self._process_id = os.getpid()
        _open.add(self)
        self._has_file = read_mode or _allocate(filename, _INITIAL_BYTES)
        if self._has_file:
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        else:
            self._begin_in_memory(filename)

    def _begin_in_memory(self, filename: str) -> None:
        self._f, self._fname, self._positions = BytesIO(), filename, {}
        self._capacity, self._used = _INITIAL_BYTES, _HEADER_BYTES
        self._m = mmap.mmap(-1, self._capacity)
        self._m[:_HEADER_BYTES] = _HEADER.pack(self._used, 0)
        _without_file.add(self)

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if _has_writer:
            self._changed[key] = (value, timestamp)
        else:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def read_value(self, key: str) -> tuple[float, float]:
        changed = self._changed.get(key)
        return changed or super().read_value(key)  # type: ignore[no-untyped-call]

    def write_changes(self) -> None:
        """Values are totals: what changes meanwhile is written by the next call."""
        if self._process_id != os.getpid():
            # Of the process that this one was forked from.
            return
        # `popitem` and setting an item are atomic; those who count need no lock of this.
        while self._changed:
            key, (value, timestamp) = self._changed.popitem()
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.write_changes()
        _open.discard(self)
        super().close()  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        """Make room first: prometheus_client's own way to grow allocates nothing."""
        needed = self._used + len(key.encode()) + _ENTRY_BYTES
        if needed > self._capacity:
            capacity = max(2 * self._capacity, needed)
            self._map(capacity, in_file=self._has_file and _allocate(self._fname, capacity))
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _map(self, capacity: int, *, in_file: bool) -> None:
        """Put the values into the file, which has that capacity, or into memory."""
        file = Path(self._fname).open("r+b") if in_file else BytesIO()  # noqa: SIM115 (kept open)
        new = mmap.mmap(file.fileno() if in_file else -1, capacity)
        new[: self._used] = self._m[: self._used]
        old_file, self._f, self._m, self._capacity = self._f, file, new, capacity
        old_file.close()
        self._has_file = in_file
        (_without_file.discard if in_file else _without_file.add)(self)

    def return_to_file(self) -> None:
        """A count of the very moment may be lost: other threads write meanwhile."""
        if _allocate(self._fname, self._capacity):
            self._map(self._capacity, in_file=True)


def _allocate(filename: str, size: int) -> bool:
    """Whether the file has blocks for `size` bytes now. An existing file is never made smaller."""
    try:
        descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(descriptor, 0, max(size, os.fstat(descriptor).st_size))
    except OSError:
        if os.fstat(descriptor).st_size < _INITIAL_BYTES:
            # The exporter could not read it.
            Path(filename).unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)
    return True


class _Process:
    """The id of this process. By itself prometheus_client asks the kernel for it at each count."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._pid = os.getpid()

    def pid(self) -> int:
        return self._pid


def use_allocated_files() -> None:
    """Call it before the first metric is made."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue(_Process().pid)  # type: ignore[no-untyped-call]


def write_changes() -> None:
    """Write what has changed to files: called by the pulse, and when the process ends."""
    global _has_writer
    _has_writer = True
    for shared in [*_open]:
        shared.write_changes()
    for kept in [*_without_file]:
        kept.return_to_file()


# Workers are children of Dramatiq, which end without Python's `atexit`.
Finalize(None, write_changes, exitpriority=0)
