"""Database work of async code, on a small pool of threads.

Django's own `sync_to_async` puts all sockets of a process behind one thread. Here each unit of
work takes a thread and a pooled connection, and gives both back when it returns, so none is held
while a coroutine waits for anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connections

P = ParamSpec("P")
R = TypeVar("R")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await `function(*args, **kwargs)`, run on a database thread of this process."""
    work = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor(), partial(_run, work))


def release_connections() -> None:
    """Give back this thread's connections, except those in a transaction.

    Call it before a long wait for anything else. The next statement takes a connection again.
    """
    for wrapper in connections.all(initialized_only=True):
        if not wrapper.in_atomic_block:
            wrapper.close()


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.DATABASE_THREADS, thread_name_prefix="database")


def _run(work: Callable[[], R]) -> R:
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()
