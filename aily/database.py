"""Statements of our own, and database work of async code on a small pool of threads.

Django's own `sync_to_async` puts all sockets of a process behind one thread. Here each unit of
work takes a thread and a pooled connection, and gives both back when it returns, so none is held
while a coroutine waits for anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection, connections

from aily.postgresql.connection import BoundedConnection, PoolBusyError

P = ParamSpec("P")
R = TypeVar("R")


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
    return BoundedConnection.answered_at > moment


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
