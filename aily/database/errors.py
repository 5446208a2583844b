"""What a database error means: PostgreSQL is away, busy, or refuses the statement."""

from __future__ import annotations

from contextlib import suppress

from django.db import DatabaseError, InterfaceError, OperationalError

from aily.database.backend.connection import BoundedConnection, PoolBusyError
from aily.database.rows import execute
from aily.database.threads import in_database

#: SQLSTATE prefixes of a server that cannot run any statement now: connections, a server that has
#: become a standby, serialization and deadlocks, resources, locks, shutdown and recovery, its disk.
_OUTAGE_STATES = ("08", "25006", "40", "53", "55P03", "57", "58")
#: Those among them that a single statement can cause by itself: too large, or too slow.
_AMBIGUOUS_STATES = ("08P01", "53000", "53200", "57014", "58")


def _state(error: BaseException) -> str | None:
    """The SQLSTATE of Django's error; None if it did not come from the server."""
    return getattr(error.__cause__, "sqlstate", None) or getattr(error, "sqlstate", None)


def is_outage(error: BaseException) -> bool:
    """Whether the database is away or busy, so that the same statement may succeed later.

    False for a statement that is refused, as too large or wrong, although Django may raise an
    OperationalError for it as well.
    """
    state = _state(error)
    if state is not None:
        return state.startswith(_OUTAGE_STATES)
    return isinstance(error, OperationalError | InterfaceError)


def may_be_refused(error: BaseException) -> bool:
    """Whether what looks like an outage may be the fault of the statement.

    A statement that makes the server end the connection looks like an outage.
    """
    state = _state(error)
    return state is None or state.startswith(_AMBIGUOUS_STATES)


def is_disk_full(error: BaseException) -> bool:
    """Whether PostgreSQL has refused the statement because its disk is full."""
    return _state(error) == "53100"


def is_pool_busy(error: BaseException) -> bool:
    """Whether the error only says that this process has no free connection at the moment."""
    return isinstance(error, PoolBusyError) or isinstance(error.__cause__, PoolBusyError)


def has_answered_since(moment: float) -> bool:
    """Whether PostgreSQL has answered anything in this process since `moment` (monotonic)."""
    return BoundedConnection.circuit.answered_at > moment


async def is_answering() -> bool:
    """Whether PostgreSQL runs a trivial statement now."""
    with suppress(DatabaseError, InterfaceError):
        return await in_database(execute, "SELECT 1") == 1
    return False
