"""An installation with as many tables as it may have."""

from __future__ import annotations

import time

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from accounts.models import User
from aily.database.rows import execute
from chat.tables import names
from chat.tables.fields import NewField
from chat.tables.models import Table
from chat.tables.tables import create_table
from tests.chat.tables.conftest import Grids

TABLES = 10_000
FIELDS = [NewField(f"F{number}", "text") for number in range(20)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_tables_work_as_one_does(
    grids: Grids, alice: User, settings: Settings
) -> None:
    settings.TABLES_MAX_PER_USER = TABLES + 10
    settings.TABLES_MAX = TABLES
    for start in range(0, TABLES - 1, 100):
        with transaction.atomic():
            for number in range(start, min(start + 100, TABLES - 1)):
                create_table(alice, f"Table {number}", FIELDS)
        connection.close()
    began = time.perf_counter()
    grid = grids.make(A="text", B="integer")
    created = time.perf_counter() - began
    refused = grids.client.post("/api/tables", {"name": "x"}, content_type="application/json")
    assert refused.json()["code"] == "table_full"
    began = time.perf_counter()
    [row] = grid.create({"A": "x", "B": 1})
    grid.add_field("C", "text")
    assert grid.row(row) == {"A": "x", "B": 1, "C": None}
    assert grids.client.get("/api/tables?limit=100").json()["count"] == TABLES
    assert time.perf_counter() - began + created < 10
    # What pg_dump does, with the locks of the start options.
    with transaction.atomic():
        for table_id in Table.objects.values_list("pk", flat=True):
            lock = "LOCK TABLE {table} IN ACCESS SHARE MODE"
            execute(names.statement(lock, table=names.rows_table(table_id)))
