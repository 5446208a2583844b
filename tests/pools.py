"""The process's pool of database connections, made small, and connections of it that are held."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from django.db import DEFAULT_DB_ALIAS, connection, connections

from aily.database.backend.base import DatabaseWrapper
from aily.database.rows import execute


@contextmanager
def small_pool(size: int, timeout_seconds: float = 0.2) -> Iterator[None]:
    """All of this process's threads share `size` connections meanwhile; this one has none of them
    at first."""
    options = connection.settings_dict["OPTIONS"]
    usual = options["pool"]
    _close_pool()
    options["pool"] = {**usual, "max_size": size, "timeout": timeout_seconds}
    try:
        yield
    finally:
        _close_pool()
        options["pool"] = usual


def _close_pool() -> None:
    connection.close()
    wrapper = connections[DEFAULT_DB_ALIAS]
    assert isinstance(wrapper, DatabaseWrapper)
    wrapper.close_pool()


@contextmanager
def held_connections(count: int) -> Iterator[None]:
    """So many connections of the pool are in use meanwhile, each by a thread of its own."""
    release = threading.Event()
    with ThreadPoolExecutor(count) as executor, ExitStack() as stack:
        stack.callback(release.set)
        holders = [_Holder(release) for _ in range(count)]
        holding = [executor.submit(holder.hold) for holder in holders]
        for holder in holders:
            assert holder.has_begun.wait(10)
        yield
        release.set()
        for future in holding:
            future.result()


class _Holder:
    def __init__(self, release: threading.Event) -> None:
        self.has_begun = threading.Event()
        self._release = release

    def hold(self) -> None:
        try:
            execute("SELECT 1")
            self.has_begun.set()
            assert self._release.wait(60)
        finally:
            connection.close()
