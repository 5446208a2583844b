"""Races are forced by a lock: the second comes to it while the first holds it."""

from __future__ import annotations

import time
from collections.abc import Callable

from aily.database.rows import execute, fetch_column

PATIENCE_SECONDS = 20
_WAITING = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
               WHERE NOT granted AND datname = current_database()"""


def wait_for_a_lock(waiters: int = 1, or_until: Callable[[], bool] = bool) -> None:
    """Return once so many others wait for a lock in this database, or `or_until` is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not or_until():
        # A transaction goes on seeing the connections that were there at its first look.
        execute("SELECT pg_stat_clear_snapshot()")
        [waiting] = fetch_column(int, _WAITING)
        if waiting >= waiters:
            return
        assert time.monotonic() < deadline, f"{waiting} wait for a lock, not {waiters}"
        time.sleep(0.005)
