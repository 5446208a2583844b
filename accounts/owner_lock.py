"""One at a time for each owner: for requests that count what there is before they add to it."""

from __future__ import annotations

from aily.database.rows import execute

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0)) IS NULL"


def lock_owner(owner_id: int) -> None:
    """Wait for other transactions that add something of this owner, and let later ones wait for
    this one's end. Two at once would both see room for the last one.

    Not the user's row: log-ins and whatever else writes that need not wait.
    """
    execute(_LOCK, [f"owner:{owner_id}"])
