"""Filters: each kind of field with each comparison, groups, bounds, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from guardian.shortcuts import assign_perm

from accounts.models import User
from chat.tables.models import Table
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.chat.tables.queries import condition, found, ordered, problem_of, query
from tests.conftest import ClientOf
from tests.subtests import subtested

pytestmark = pytest.mark.django_db

CHOICES = {"choices": [{"name": "Open"}, {"name": "Closed"}]}
#: The last one has nothing but its name.
ROWS: tuple[dict[str, Any], ...] = (
    {
        "Name": "a",
        "Note": "The Bike is 100% late_",
        "Mail": "a@example.com",
        "Count": 1,
        "Price": 1.5,
        "Done": True,
        "Day": "2026-01-31",
        "At": "2026-01-31T12:00:00Z",
        "State": 1,
        "Tags": [1],
        "Data": {"size": 1},
    },
    {
        "Name": "b",
        "Note": "自行车坏了",
        "Mail": "b@example.com",
        "Count": 2,
        "Price": 2.25,
        "Done": False,
        "Day": "2026-02-01",
        "At": "2026-01-31T20:00:00Z",
        "State": 2,
        "Tags": [1, 2],
        "Data": [1, 2],
    },
    {
        "Name": "c",
        "Note": "nothing",
        "Count": -9007199254740991,
        "Price": -3,
        "Day": "2020-02-29",
        "At": "2026-02-01T00:00:00Z",
        "Tags": [2],
        "Data": "text",
    },
    {"Name": "d"},
)


@pytest.fixture
def grid(grids: Grids) -> Grid:
    """A table with `ROWS`."""
    grid = grids.make(
        Name="text",
        Note="long_text",
        Mail="email",
        Count="integer",
        Price="number",
        Done="boolean",
        Day="date",
        At="datetime",
        State=("select", CHOICES),
        Tags=("multi_select", CHOICES),
        Data="json",
    )
    grid.create(*ROWS)
    return grid


@subtested(
    ("field", "op", "value", "names"),
    [
        ("Name", "is", "a", "a"),
        ("Name", "is", "A", ""),
        ("Name", "is_not", "a", "bcd"),
        ("Name", "in", ["a", "d", "x"], "ad"),
        ("Name", "in", [], ""),
        ("Note", "contains", "bIKe", "a"),
        ("Note", "contains", "0%", "a"),
        ("Note", "contains", "e_i", ""),
        ("Note", "contains", "行车", "b"),
        ("Note", "not_contains", "bike", "bcd"),
        ("Note", "starts_with", "the b", "a"),
        ("Note", "starts_with", "%", ""),
        ("Note", "empty", None, "d"),
        ("Note", "not_empty", None, "abc"),
        ("Mail", "is_not", "a@example.com", "bcd"),
        ("Mail", "contains", "EXAMPLE", "ab"),
        ("Count", "is", 1, "a"),
        ("Count", "is_not", 1, "bcd"),
        ("Count", "in", [1, 2], "ab"),
        ("Count", "gt", 1, "b"),
        ("Count", "gte", 1, "ab"),
        ("Count", "lt", 1, "c"),
        ("Count", "lte", 1, "ac"),
        ("Count", "between", [1, 2], "ab"),
        ("Count", "empty", None, "d"),
        ("Price", "is", 2.25, "b"),
        ("Price", "between", [-3, 1.5], "ac"),
        ("Price", "lt", 0, "c"),
        ("Done", "is", True, "a"),
        ("Done", "is", False, "b"),
        ("Done", "is_not", True, "bcd"),
        ("Done", "empty", None, "cd"),
        ("Day", "is", "2026-01-31", "a"),
        ("Day", "gt", "2026-01-31", "b"),
        ("Day", "lte", "2026-01-31", "ac"),
        ("Day", "between", ["2026-01-01", "2026-02-01"], "ab"),
        ("Day", "in", ["2020-02-29"], "c"),
        ("Day", "not_empty", None, "abc"),
        ("At", "is", "2026-01-31T12:00:00+00:00", "a"),
        ("At", "is", "2026-01-31T20:00:00+08:00", "a"),
        ("At", "is", "2026-01-31", "ab"),
        ("At", "is_not", "2026-01-31", "cd"),
        ("At", "gt", "2026-01-31", "c"),
        ("At", "gte", "2026-01-31", "abc"),
        ("At", "lt", "2026-02-01", "ab"),
        ("At", "lte", "2026-02-01", "abc"),
        ("At", "gt", "2026-01-31T12:00:00Z", "bc"),
        ("At", "between", ["2026-01-31", "2026-01-31"], "ab"),
        ("At", "between", ["2026-01-31T13:00:00Z", "2026-02-01T00:00:00Z"], "bc"),
        ("State", "is", 1, "a"),
        ("State", "is", "Open", "a"),
        ("State", "is_not", 1, "bcd"),
        ("State", "in", [1, "Closed"], "ab"),
        ("State", "empty", None, "cd"),
        ("Tags", "contains", 1, "ab"),
        ("Tags", "not_contains", "Open", "cd"),
        ("Tags", "is", [2, 1], "b"),
        ("Tags", "is_not", [1], "bcd"),
        ("Tags", "in", [2], "bc"),
        ("Tags", "empty", None, "d"),
        ("Data", "is", {"size": 1}, "a"),
        ("Data", "is_not", [1, 2], "acd"),
        ("Data", "contains", "size", "a"),
        ("Data", "empty", None, "d"),
    ],
)
def test_comparisons(grid: Grid, field: str, op: str, value: Any, names: str) -> None:
    assert found(grid, condition(grid, field, op, value)) == set(names)


def test_days_in_a_time_zone(grid: Grid) -> None:
    """20:00 in London is the next day in Shanghai."""
    on_day = condition(grid, "At", "is", "2026-02-01", timezone="Asia/Shanghai")
    assert found(grid, on_day) == {"b", "c"}


@subtested(
    ("name", "inside", "outside"),
    [
        ("today", 0, 1),
        ("yesterday", -1, 0),
        ("tomorrow", 1, 0),
        ("last_7_days", -6, -7),
        ("last_7_days", 0, 1),
        ("next_7_days", 6, 7),
        ("next_7_days", 0, -1),
        ("last_30_days", -29, -30),
        ("this_year", 0, 366),
        ("last_year", -366, 0),
        ("this_month", 0, 32),
        ("this_week", 0, 7),
        ("last_week", -7, 0),
        ("next_month", 32, 0),
    ],
)
def test_spans(grids: Grids, name: str, inside: int, outside: int) -> None:
    grid = grids.make(Name="text", Day="date", At="datetime")
    now = datetime.now(UTC).replace(hour=12)
    if name in ("last_year", "next_month"):
        # From the middle of a year or month, so that so many days are always in the next one.
        now = now.replace(month=12 if name == "last_year" else now.month, day=15)
        inside = -366 if name == "last_year" else inside
    rows = {"in": now + timedelta(days=inside), "out": now + timedelta(days=outside)}
    if name == "last_year":
        rows["in"] = now.replace(year=now.year - 1)
    if name == "next_month":
        first = now.replace(day=1)
        rows["in"] = first + timedelta(days=32)
    for label, moment in rows.items():
        grid.create({"Name": label, "Day": f"{moment:%Y-%m-%d}", "At": moment.isoformat()})

    assert found(grid, condition(grid, "Day", "is_within", name)) == {"in"}
    assert found(grid, condition(grid, "At", "is_within", name)) == {"in"}


def test_what_every_row_has_by_itself(grid: Grid) -> None:
    first, *_ = (row["id"] for row in query(grid)["items"])
    assert found(grid, {"field": "id", "op": "in", "value": [first, 10**12]}) == {"a"}
    assert found(grid, {"field": "pos", "op": "gt", "value": first + 1.5}) == {"c", "d"}
    assert found(grid, {"field": "updated_at", "op": "is_within", "value": "today"}) == set("abcd")


def test_groups(grid: Grid) -> None:
    late = condition(grid, "Note", "contains", "late")
    cheap = condition(grid, "Price", "lt", 0)
    open_ = condition(grid, "State", "is", 1)
    assert found(grid, {"or": [late, cheap]}) == {"a", "c"}
    assert found(grid, {"and": [{"or": [late, cheap]}, open_]}) == {"a"}
    assert found(grid, {"and": []}) == found(grid, {"or": []}) == set("abcd")


def test_links(grids: Grids) -> None:
    people = grids.make("People", Name="text")
    ann, bo = people.create({"Name": "Ann 安"}, {"Name": "Bo"})
    grid = grids.make(Name="text", Who=("link", {"table": people.id}))
    grid.create({"Name": "a", "Who": [ann]}, {"Name": "b", "Who": [ann, bo]}, {"Name": "c"})

    assert found(grid, condition(grid, "Who", "contains", ann)) == {"a", "b"}
    assert found(grid, condition(grid, "Who", "contains", "安")) == {"a", "b"}
    assert found(grid, condition(grid, "Who", "not_contains", "bo")) == {"a", "c"}
    assert found(grid, condition(grid, "Who", "in", [bo])) == {"b"}
    assert found(grid, condition(grid, "Who", "empty")) == {"c"}
    assert found(grid, condition(grid, "Who", "not_empty")) == {"a", "b"}


def test_links_to_a_table_that_one_may_not_read(
    grids: Grids, bob: User, client_of: ClientOf
) -> None:
    """Its texts cannot be guessed by filters or orders."""
    people = grids.make("People", Name="text")
    zoe, ann = people.create({"Name": "Zoe"}, {"Name": "Ann"})
    grid = grids.make(Name="text", Who=("link", {"table": people.id}))
    grid.create({"Name": "a", "Who": [zoe]}, {"Name": "b", "Who": [ann]})
    assign_perm("tables.view_table", bob, Table.objects.get(pk=grid.id))
    reader = as_user(grid, client_of(bob))

    tree = condition(grid, "Who", "contains", "Ann")
    assert found(grid, tree) == {"b"}
    for path in ("/rows:query", ":open", ":aggregate"):
        answer = reader.send("post", path, {"filter": tree})
        assert problem_of(answer) == (400, "invalid_request", ["filter.value"])
    assert found(reader, condition(grid, "Who", "contains", ann)) == {"b"}
    assert ordered(reader, "Who") == ["a", "b"]
    assert ordered(grid, "Who") == ["b", "a"]


def _nested(depth: int, leaf: dict[str, Any]) -> dict[str, Any]:
    return {"and": [_nested(depth - 1, leaf)]} if depth else leaf


def test_bounds(grid: Grid) -> None:
    leaf = condition(grid, "Name", "is", "a")
    assert found(grid, _nested(3, leaf)) == {"a"}
    assert found(grid, {"or": [leaf] * 50}) == {"a"}
    for tree, field in (
        (_nested(4, leaf), "filter.and.0.and.0.and.0"),
        ({"or": [leaf] * 51}, "filter"),
        ({"and": [{"and": []}] * 51}, "filter"),
        (condition(grid, "Name", "in", ["x"] * 1001), "filter.value"),
        (condition(grid, "Name", "is", "x" * 10_001), "filter.value"),
    ):
        assert problem_of(grid.send("post", "/rows:query", {"filter": tree})) == (
            400,
            "invalid_request",
            [field],
        )


@subtested(
    ("change", "field"),
    [
        ({"field": "f999999999"}, "filter.and.0.field"),
        ({"field": 'f1"; DROP TABLE tables_table; --'}, "filter.and.0.field"),
        ({"op": "like"}, "filter.and.0.op"),
        ({"op": None}, "filter.and.0.op"),
        ({"op": "gt"}, "filter.and.0.op"),
        ({"value": 1}, "filter.and.0.value"),
        ({"op": "contains", "value": ""}, "filter.and.0.value"),
        ({"op": "in", "value": "a"}, "filter.and.0.value"),
        ({"op": "empty", "value": "a"}, "filter.and.0.value"),
        ({"timezone": "UTC"}, "filter.and.0.timezone"),
        ({"sql": "true"}, "filter.and.0.sql"),
    ],
)
def test_what_is_refused(grid: Grid, change: dict[str, Any], field: str) -> None:
    tree = {"and": [{**condition(grid, "Name", "is", "a"), **change}]}
    answer = grid.send("post", "/rows:query", {"filter": tree})
    assert problem_of(answer) == (400, "invalid_request", [field])


@subtested(
    ("field", "op", "value"),
    [
        ("Count", "is", "1"),
        ("Count", "is", True),
        ("Count", "gt", 2**64),
        ("Price", "is", "1.5"),
        ("Done", "is", 1),
        ("Day", "is", "31.1.2026"),
        ("Day", "is", "2026-02-30"),
        ("Day", "is_within", "some_day"),
        ("Day", "is_within", "last_0_days"),
        ("Day", "is_within", "last_9999_days"),
        ("Day", "between", ["2026-01-01"]),
        ("At", "is", "2026-01-31T12:00:00"),
        ("State", "is", 3),
        ("State", "is", "Unknown"),
        ("State", "is", True),
        ("Tags", "contains", 3),
    ],
)
def test_values_that_do_not_fit(grid: Grid, field: str, op: str, value: Any) -> None:
    answer = grid.send("post", "/rows:query", {"filter": condition(grid, field, op, value)})
    status, code, [path] = problem_of(answer)
    assert (status, code) == (400, "invalid_request")
    assert path.startswith("filter.value")
