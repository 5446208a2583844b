"""A table of 100,000 rows, made by SQL: plans, statements and places, never times."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg import sql

from aily.database.rows import execute, fetch_column
from aily.redis.clients import sync_redis
from chat.tables import keys
from chat.tables.index_uses import Use, read_uses
from chat.tables.models import Table
from chat.tables.names import column, ids_sequence, rows_table, statement
from tests.chat.tables.conftest import Grid, Grids
from tests.chat.tables.queries import condition, query, statements

pytestmark = pytest.mark.django_db
ROWS = 100_000

_FILL = """
INSERT INTO {table} (id, pos, {name}, {count})
SELECT n, n, 'row ' || n %% 1000, (n::bigint * 7919) %% {rows} FROM generate_series(1, {rows}) n
"""


def fill(grid: Grid, rows: int = ROWS) -> None:
    """Each count from 0 to `rows` - 1 is in one row: the place of a row in their order is known."""
    columns = {name: column(grid.key(name)) for name in ("Name", "Count")}
    execute(
        statement(
            _FILL,
            table=rows_table(grid.id),
            name=columns["Name"],
            count=columns["Count"],
            rows=sql.Literal(rows),
        ),
        [],
    )
    execute(statement("ANALYZE {table}", table=rows_table(grid.id)))
    Table.objects.filter(pk=grid.id).update(row_count=rows)


@pytest.fixture
def grid(grids: Grids) -> Grid:
    grid = grids.make(Name="text", Count="integer")
    fill(grid)
    return grid


def test_any_place_of_a_view(grid: Grid) -> None:
    """Opening is one statement over the rows, and any place is read by primary key."""
    count = grid.key("Count")
    with statements() as opening:
        answer = grid.send("post", ":open", {"sorts": [{"field": count, "desc": True}]})
    snapshot = answer.json()
    assert snapshot["count"] == ROWS
    assert sum("string_agg" in sql for sql in opening) == 1
    assert len(opening) < 10, opening

    for place in (0, 49_990, 99_990):
        with statements() as reading:
            path = f"/api/tables/snapshots/{snapshot['id']}/rows?from={place}&n=10"
            rows = grid.client.get(path).json()["items"]
        assert [row["values"][count] for row in rows] == [ROWS - 1 - place - n for n in range(10)]
        assert len(reading) == 3, reading
        [read] = [sql for sql in reading if f'"t{grid.id}"' in sql]
        assert "Seq Scan" not in _plan(read)


def _plan(sql: str) -> str:
    return "\n".join(fetch_column(str, f"EXPLAIN {sql}".replace("%", "%%")))


def test_deep_pages_of_an_indexed_order(grid: Grid) -> None:
    """A cursor is found in the index, however deep it is; so is the order."""
    count = grid.key("Count")
    execute(f'CREATE INDEX ON tables.t{grid.id} ("{count}" ASC NULLS LAST, id)')
    sorts = [{"field": count}]
    half = {"field": count, "op": "gte", "value": 50_000}
    first = query(grid, sorts=sorts, filter=half, limit=500)
    with CaptureQueriesContext(connection) as captured:
        second = query(grid, sorts=sorts, filter=half, limit=500, cursor=first["next"])
    assert [row["values"][count] for row in second["items"]] == list(range(50_500, 51_000))
    [page] = [found["sql"] for found in captured.captured_queries if "LIMIT 501" in found["sql"]]
    plan = _plan(page)
    assert "Index" in plan
    assert "Sort" not in plan


def test_counts_stop_early(grid: Grid) -> None:
    capped = query(grid, limit=1, count="capped")
    assert (capped["count"], capped["is_capped"]) == (10_000, True)
    assert query(grid, limit=1, count="exact")["count"] == ROWS


def test_a_thousand_groups(grid: Grid) -> None:
    body: dict[str, Any] = {"groups": [grid.key("Name")], "aggregates": {grid.key("Count"): "max"}}
    answer = grid.send("post", ":aggregate", body).json()
    assert (len(answer["groups"]), answer["has_more"]) == (1_000, False)
    assert {group["count"] for group in answer["groups"]} == {ROWS // 1_000}
    answer = grid.send("post", ":aggregate", {"groups": [grid.key("Count")]}).json()
    assert (len(answer["groups"]), answer["has_more"]) == (1_000, True)


def test_a_query_that_takes_too_long(grid: Grid, settings: Any) -> None:
    settings.TABLE_QUERY_SECONDS = 0.001
    answer = grid.send("post", "/rows:query", {"sorts": [{"field": grid.key("Name")}]})
    assert (answer.status_code, answer.json()["code"]) == (503, "query_timeout")
    assert answer["Retry-After"]


def test_uses_are_counted(grid: Grid) -> None:
    """Of the first sort and of the conditions that all rows meet, in large tables only."""
    day = f"{timezone.now():%Y%m%d}"
    sync_redis().delete(keys.field_uses(day))
    tree = {"and": [condition(grid, "Name", "is", "row 7"), condition(grid, "Count", "gt", 5)]}
    sorts = [{"field": grid.key("Count"), "desc": True}, {"field": grid.key("Name")}]
    query(grid, filter=tree, sorts=sorts)
    grid.send("post", ":open", {"filter": tree, "sorts": sorts})
    assert read_uses(day) == {
        Use(grid.id, grid.key("Name"), "equal"): 2,
        Use(grid.id, grid.key("Count"), "asc"): 2,
        Use(grid.id, grid.key("Count"), "desc"): 2,
    }


@pytest.mark.slow
def test_any_place_of_a_million_rows(grids: Grids) -> None:
    """As many as a table may have: any order, any place of it, and no row more."""
    full = grids.make(Name="text", Count="integer")
    fill(full, 1_000_000)
    count = full.key("Count")
    snapshot = full.send("post", ":open", {"sorts": [{"field": count}], "n": 1}).json()
    assert snapshot["count"] == 1_000_000
    for place in (0, 499_999, 999_500):
        path = f"/api/tables/snapshots/{snapshot['id']}/rows?from={place}&n=500"
        rows = full.client.get(path).json()["items"]
        assert [row["values"][count] for row in rows] == list(range(place, place + 500))
    execute("SELECT setval(%s, 1000000)", [ids_sequence(full.id)])
    refused = full.batch({"op": "create", "values": {"Name": "one more"}})
    assert (refused.status_code, refused.json()["code"]) == (409, "table_full")
    assert full.batch({"op": "update", "id": 1, "values": {"Name": "x"}}).status_code == 200
