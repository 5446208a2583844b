"""The threads of a worker process that work on imports and exports.

They are not Dramatiq's two, which others need every second: a transfer takes half a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread

from django.db import close_old_connections, connections

from aily.concurrency.faults import note_fault

#: Transfers that one process works on at once: a small one need not wait for a large one.
MAX_THREADS = 2


class TransferThreads:
    """Runs `work` on threads of its own until it returns False: nothing is left to do."""

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._lock = Lock()
        self._running = 0

    def wake(self) -> None:
        """Begin another thread, if there is room. A thread without work ends at once."""
        with self._lock:
            if self._running >= MAX_THREADS:
                return
            self._running += 1
        # What a process that ends leaves undone goes on elsewhere when its lease has run out.
        Thread(target=self._run, name="transfers", daemon=True).start()

    def _run(self) -> None:
        try:
            close_old_connections()
            while self._work():
                close_old_connections()
        except Exception:  # noqa: BLE001 - logged; the schedule wakes another thread
            note_fault("transfers")
        finally:
            connections.close_all()
            with self._lock:
                self._running -= 1
