"""Writers and changes of fields that meet: each race is held open by a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from aily.database.rows import execute, fetch_column
from chat.tables import ddl, locks, names
from chat.tables.models import Field, Table
from tests.chat.tables.conftest import Grid, Grids
from tests.waiting import wait_until

_WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@contextmanager
def held(hold: Callable[[], None]) -> Iterator[None]:
    """Another transaction that has done `hold` and ends after the block."""
    is_held, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with transaction.atomic():
            hold()
            is_held.set()
            may_end.wait(20)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        assert is_held.wait(20)
        try:
            yield
        finally:
            may_end.set()
            done.result(20)


def in_thread(pool: ThreadPoolExecutor, send: Callable[[], Any]) -> Future[Any]:
    def sent() -> Any:
        try:
            return send()
        finally:
            connection.close()

    return pool.submit(sent)


def is_somebody_waiting() -> bool:
    return fetch_column(int, _WAITING) == [1]


def test_a_writer_waits_for_a_change_of_fields_and_sees_it(grids: Grids) -> None:
    grid = grids.make(A="text", B="text")
    field = grid.fields["A"]["id"]

    def delete_field() -> None:
        ddl.lock_table(grid.id)
        Field.objects.filter(pk=field).update(deleted_at=timezone.now())
        ddl.drop_column(grid.id, grid.key("A"))

    with ThreadPoolExecutor(1) as pool:
        with held(delete_field):
            writing = in_thread(pool, lambda: grid.batch({"op": "create", "values": {"A": "x"}}))
            wait_until(is_somebody_waiting, "the writer waits")
        refused = writing.result(20)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_value")
    assert grid.batch({"op": "create", "values": {"B": "x"}}).status_code == 200


def _lock_row(grid: Grid, row: int) -> Callable[[], None]:
    lock = names.statement(
        "SELECT id FROM {table} WHERE id = %s FOR UPDATE", table=names.rows_table(grid.id)
    )

    def hold() -> None:
        execute(lock, [row])

    return hold


def test_writers_of_other_rows_do_not_wait_and_those_of_the_same_give_up(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.1)
    grid = grids.make(A="text")
    first, second = grid.create({"A": "x"}, {"A": "y"})
    with held(_lock_row(grid, first)):
        assert grid.batch({"op": "update", "id": second, "values": {"A": "z"}}).status_code == 200
        assert grid.create({"A": "new"})
        busy = grid.batch({"op": "update", "id": first, "values": {"A": "z"}})
        assert (busy.status_code, busy.json()["code"]) == (409, "table_busy")
        assert grid.row(first) == {"A": "x"}
    assert grid.batch({"op": "update", "id": first, "values": {"A": "z"}}).status_code == 200


def test_a_row_deleted_meanwhile_is_not_found_and_one_changed_is_compared(grids: Grids) -> None:
    grid = grids.make(A="text")
    gone, changed = grid.create({"A": "x"}, {"A": "x"})
    table = names.rows_table(grid.id)

    def write() -> None:
        execute(names.statement("DELETE FROM {table} WHERE id = %s", table=table), [gone])
        change = "UPDATE {table} SET {column} = 'by Bob', version = 2 WHERE id = %s"
        column = names.column(grid.key("A"))
        execute(names.statement(change, table=table, column=column), [changed])

    operations = [
        {"op": "update", "id": row, "values": {"A": "mine"}, "was": {"A": "x"}}
        for row in (gone, changed)
    ]
    with ThreadPoolExecutor(1) as pool:
        with held(write):
            writing = in_thread(pool, lambda: grid.batch(*operations, atomic=False))
            wait_until(is_somebody_waiting, "the writer waits")
        missing, conflict = writing.result(20).json()["results"]
    assert missing["error"]["code"] == "not_found"
    assert conflict["status"] == "conflict"
    assert conflict["conflicts"][0]["value"] == "by Bob"


def test_a_table_deleted_meanwhile_takes_no_rows(grids: Grids) -> None:
    grid = grids.make(A="text")

    def delete() -> None:
        Table.objects.filter(pk=grid.id).update(deleted_at=timezone.now())

    with ThreadPoolExecutor(1) as pool:
        with held(delete):
            writing = in_thread(pool, lambda: grid.batch({"op": "create", "values": {}}))
            wait_until(is_somebody_waiting, "the writer waits")
        assert writing.result(20).status_code == 404
    assert Table.objects.get(pk=grid.id).row_count == 0
