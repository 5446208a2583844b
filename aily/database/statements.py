"""Statements of our own, and database work of async code on a small pool of threads.

Django's own `sync_to_async` puts all sockets of a process behind one thread. Here each unit of
work takes a thread and a pooled connection, and gives both back when it returns, so none is held
while a coroutine waits for anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)

from aily.database.backend.connection import BoundedConnection, PoolBusyError

P = ParamSpec("P")
R = TypeVar("R")


#: SQLSTATEs, or how they begin, of a server that cannot do its work now, whatever it is asked:
#: connections, serialization and deadlocks, resources, locks, shutdown and recovery, its disk; and
#: of one that has become a standby.
_AWAY = ("08", "25006", "40", "53", "55P03", "57", "58")
#: Those of them that the statement itself may be to blame for: it is too large or takes too long.
_DOUBTFUL = ("08P01", "53000", "53200", "57014", "58")


def _state(error: BaseException) -> str | None:
    """The SQLSTATE of Django's error; None where none came from the server."""
    return getattr(error.__cause__, "sqlstate", None) or getattr(error, "sqlstate", None)


def is_outage(error: BaseException) -> bool:
    """Whether the database is away or busy, so that the same statement may succeed later.

    False for a statement that is refused, as too large or wrong, which Django may call an
    OperationalError as well.
    """
    state = _state(error)
    if state is not None:
        return state.startswith(_AWAY)
    return isinstance(error, OperationalError | InterfaceError)


def may_be_refused(error: BaseException) -> bool:
    """Whether an outage may be none: a statement that ends its connection looks like one."""
    state = _state(error)
    return state is None or state.startswith(_DOUBTFUL)


async def is_answering() -> bool:
    """Whether the database does what it is asked."""
    with suppress(DatabaseError, InterfaceError):
        return bool(await in_database(fetch_all, "SELECT 1"))
    return False


def fetch_all(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement that returns rows, and return them all. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


#: A statement and its parameters.
Question = tuple[str, Sequence[Any] | Mapping[str, Any]]


def fetch_each(*questions: Question) -> list[list[tuple[Any, ...]]]:
    """`fetch_all` for several statements in one round trip: that costs more than what they ask."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(cursor.mogrify(sql, params) for sql, params in questions))
        answers: list[list[tuple[Any, ...]]] = [cursor.fetchall()]
        while cursor.nextset():
            answers.append(cursor.fetchall())
    return answers


def is_pool_busy(error: BaseException) -> bool:
    """Whether a database error only says that this process has no connection free just now."""
    return isinstance(error, PoolBusyError) or isinstance(error.__cause__, PoolBusyError)


def has_answered_since(moment: float) -> bool:
    """Whether PostgreSQL has answered anything in this process since `moment` (monotonic)."""
    return BoundedConnection.circuit.answered_at > moment


def release_connections() -> None:
    """Give this thread's connections back, but for those in a transaction: what follows waits for
    something else. The next statement takes another one."""
    for held in connections.all(initialized_only=True):
        if not held.in_atomic_block:
            held.close()


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.DATABASE_THREADS, thread_name_prefix="database")


def _run(work: Callable[[], R]) -> R:
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await `function(*args, **kwargs)`, run on a database thread of this process."""
    work = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor(), partial(_run, work))
