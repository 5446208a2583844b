"""The feeder's lease of a run: one process at a time validates or feeds it.

If the process dies, another one takes the run when the lease has run out. What it does is safe even
if the first one is only slow: every change names the lease, and tasks have the keys of their rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from aily.database.rows import Row, execute, fetch_rows

SECONDS = 15

_TAKE = """
UPDATE chat_run r SET fed_by = %(token)s, fed_until = now() + make_interval(secs => %(seconds)s)
  FROM (SELECT id, fed_by FROM chat_run
         WHERE id = %(run_id)s AND (fed_until IS NULL OR fed_until < now())
           FOR NO KEY UPDATE SKIP LOCKED) old
 WHERE r.id = old.id
RETURNING old.fed_by IS NOT NULL AS was_abandoned
"""
_RENEW = """
UPDATE chat_run SET fed_until = now() + make_interval(secs => %(seconds)s)
 WHERE id = %(run_id)s AND fed_by = %(token)s
"""
_RELEASE = """
UPDATE chat_run SET fed_by = NULL, fed_until = NULL WHERE id = %(run_id)s AND fed_by = %(token)s
"""


class LeaseLostError(Exception):
    """Another process has taken the run."""


class _Taken(Row, frozen=True):
    was_abandoned: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """`was_abandoned`: the process that had it before did not give it back."""

    run_id: UUID
    token: UUID
    was_abandoned: bool

    def renew(self) -> None:
        """Raises LeaseLostError."""
        if not execute(_RENEW, self._params()):
            raise LeaseLostError

    def _params(self) -> dict[str, object]:
        return {"run_id": self.run_id, "token": self.token, "seconds": SECONDS}


@contextmanager
def leased(run_id: UUID) -> Iterator[Lease | None]:
    """Take the lease of a run, and give it back; None if another process has it."""
    token = uuid4()
    params = {"run_id": run_id, "token": token, "seconds": SECONDS}
    taken = fetch_rows(_Taken, _TAKE, params)
    if not taken:
        yield None
        return
    try:
        yield Lease(run_id, token, taken[0].was_abandoned)
    finally:
        execute(_RELEASE, params)
