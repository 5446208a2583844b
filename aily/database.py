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
from django.db import close_old_connections, connection

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
