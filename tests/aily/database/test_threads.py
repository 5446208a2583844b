"""Database work of async code: on few threads, which give their connections back."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from aily.database.threads import in_database, release_connections


async def test_work_runs_on_a_database_thread_and_returns_its_connection(
    transactional_db: None,
) -> None:
    def work(number: int, *, plus: int) -> tuple[int, str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::int + %s::int", [number, plus])
            [total] = cursor.fetchone()
        return total, threading.current_thread().name

    total, thread = await in_database(work, 40, plus=2)
    assert total == 42
    assert thread.startswith("database")
    assert thread != threading.current_thread().name


async def test_an_error_reaches_the_caller(transactional_db: None) -> None:
    def break_() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        await in_database(break_)


def test_a_connection_is_given_back_unless_a_transaction_needs_it(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with transaction.atomic():
        release_connections()
        assert connection.connection is not None
    release_connections()
    assert connection.connection is None
