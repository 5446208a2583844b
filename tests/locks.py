"""Races are forced by a lock: the second comes to it while the first holds it."""

from __future__ import annotations

from collections.abc import Callable

from aily.database.rows import execute, fetch_column
from tests.waiting import wait_until

_WAITING = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
               WHERE NOT granted AND datname = current_database()"""


def wait_for_a_lock(waiters: int = 1, or_until: Callable[[], bool] = bool) -> None:
    """Return once so many others wait for a lock in this database, or `or_until` is true."""
    wait_until(lambda: or_until() or _waiting() >= waiters, f"{waiters} waiters for a lock")


def _waiting() -> int:
    # A transaction goes on seeing the connections that were there at its first look.
    execute("SELECT pg_stat_clear_snapshot()")
    [waiting] = fetch_column(int, _WAITING)
    return waiting
