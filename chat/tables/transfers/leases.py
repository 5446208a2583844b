"""The lease of an import or export: one worker at a time works on it.

If the worker dies, another one takes it when the lease has run out, and begins the step again: a
step changes the table in one transaction, which names the lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from psycopg import sql

from aily.database.rows import execute, fetch_column
from chat.tables.models import Export, Import
from chat.tables.models.transfers import WORKED_ON
from chat.tables.names import statement

SECONDS = 15

_IS_WAITING = """
EXISTS (SELECT FROM {table}
         WHERE state = ANY(%(states)s) AND (lease_until IS NULL OR lease_until < now()))
"""
_TAKE = """
UPDATE {table} SET lease = %(token)s, lease_until = now() + make_interval(secs => %(seconds)s)
 WHERE id = (SELECT id FROM {table}
              WHERE state = ANY(%(states)s) AND (lease_until IS NULL OR lease_until < now())
              ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id
"""
_RENEW = """
UPDATE {table} SET lease_until = now() + make_interval(secs => %(seconds)s), done = %(done)s
 WHERE id = %(id)s AND lease = %(token)s AND state = ANY(%(states)s)
"""
_RELEASE = """
UPDATE {table} SET lease = NULL, lease_until = NULL WHERE id = %(id)s AND lease = %(token)s
"""
_STATES = [state.value for state in WORKED_ON]

Transfers = type[Import] | type[Export]


class LeaseLostError(Exception):
    """Another worker has taken the transfer, or it was cancelled."""


@dataclass(frozen=True, slots=True)
class Lease:
    transfers: Transfers
    transfer_id: UUID
    token: UUID

    def renew(self, done: int) -> None:
        """Keep the lease, and note how many rows are done. Raises LeaseLostError."""
        if not execute(_sql(_RENEW, self.transfers), {**self._params(), "done": done}):
            raise LeaseLostError

    def release(self) -> None:
        execute(_sql(_RELEASE, self.transfers), self._params())

    def _params(self) -> dict[str, object]:
        return {
            "id": self.transfer_id,
            "token": self.token,
            "seconds": SECONDS,
            "states": _STATES,
        }


def has_waiting() -> bool:
    """Whether an import or export waits for a worker. One look-up in two small indexes."""
    waiting = " OR ".join(_sql(_IS_WAITING, transfers) for transfers in (Import, Export))
    [found] = fetch_column(bool, f"SELECT {waiting}", {"states": _STATES})
    return found


@contextmanager
def take_next(transfers: Transfers) -> Iterator[Lease | None]:
    """Take the lease of the oldest transfer with work to do, and give it back; None without one."""
    token = uuid4()
    params = {"token": token, "seconds": SECONDS, "states": _STATES}
    taken = fetch_column(UUID, _sql(_TAKE, transfers), params)
    if not taken:
        yield None
        return
    lease = Lease(transfers, taken[0], token)
    try:
        yield lease
    finally:
        lease.release()


def _sql(template: str, transfers: Transfers) -> str:
    name = transfers._meta.db_table  # noqa: SLF001 - documented, although its name is private
    return statement(template, table=sql.Identifier(name))
