"""Queries: orders, cursors, counts, groups, and rows in the order by hand."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from aily.database.rows import fetch_column
from chat.tables import positions
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.chat.tables.queries import condition, ordered, problem_of, query, statements
from tests.conftest import ClientOf
from tests.subtests import subtested

pytestmark = pytest.mark.django_db

CHOICES = {"choices": [{"name": "High"}, {"name": "Low"}]}


@pytest.fixture
def grid(grids: Grids) -> Grid:
    grid = grids.make(
        Name="text",
        Count="integer",
        Price="number",
        Day="date",
        Level=("select", CHOICES),
        Tags=("multi_select", CHOICES),
        Data="json",
    )
    grid.create(
        {"Name": "b", "Count": 2, "Price": 1.1, "Day": "2026-01-02", "Level": 2, "Tags": [2]},
        {"Name": "a", "Count": 2, "Price": 1.10, "Day": "2026-01-01", "Level": 1, "Tags": [1]},
        {"Name": "d"},
        {"Name": "c", "Count": 1, "Price": -5, "Day": "2025-12-31", "Level": 1, "Tags": [1, 2]},
        {"Name": "e"},
        {"Name": "张", "Count": 7},
        {"Name": "啊", "Count": 7},
    )
    return grid


@subtested(
    ("sorts", "names"),
    [
        ([], "badce张啊"),
        (["Name"], "abcde啊张"),
        (["-Name"], "张啊edcba"),
        (["Count"], "cba张啊de"),
        (["-Count"], "张啊bacde"),
        (["Count", "Name"], "cab啊张de"),
        (["Count", "-Name"], "cba张啊ed"),
        (["-Price", "Day"], "abcde张啊"),
        (["Day"], "cabde张啊"),
        (["-Day"], "bacde张啊"),
        (["Level", "Name"], "acbde啊张"),
        (["-Level", "Name"], "bacde啊张"),
        (["Tags"], "acbde张啊"),
        (["Count", "Count", "Level"], "cab张啊de"),
    ],
)
def test_orders_page_by_page(grid: Grid, sorts: list[str], names: str) -> None:
    """Pages of three: each row once, empty cells last in both directions, equal ones by id."""
    assert "".join(ordered(grid, *sorts)) == names


def test_pinyin(grid: Grid) -> None:
    """Where PostgreSQL was built with ICU; elsewhere that is said."""
    has_icu = fetch_column(bool, "SELECT true FROM pg_collation WHERE collname = 'zh-x-icu'")
    if not has_icu:
        answer = grid.send("post", "/rows:query", {"collation": "pinyin"})
        assert problem_of(answer) == (400, "invalid_request", ["collation"])
        return
    assert ordered(grid, "Name", collation="pinyin")[-2:] == ["啊", "张"]
    assert ordered(grid, "-Name", collation="pinyin")[:2] == ["张", "啊"]


def test_an_unknown_collation(grid: Grid) -> None:
    answer = grid.send("post", "/rows:query", {"collation": "klingon"})
    assert problem_of(answer) == (400, "invalid_request", ["collation"])


def test_order_by_what_is_linked(grids: Grids) -> None:
    people = grids.make("People", Name="text")
    zoe, ann = people.create({"Name": "Zoe"}, {"Name": "Ann"})
    grid = grids.make(Name="text", Who=("link", {"table": people.id}))
    grid.create({"Name": "z", "Who": [zoe]}, {"Name": "-"}, {"Name": "a", "Who": [ann, zoe]})
    assert ordered(grid, "Who") == ["a", "z", "-"]
    assert ordered(grid, "-Who") == ["z", "a", "-"]


def test_a_page_is_not_moved_by_changes(grid: Grid) -> None:
    page = query(grid, sorts=[{"field": grid.key("Name")}], limit=2)
    assert [row["values"][grid.key("Name")] for row in page["items"]] == ["a", "b"]
    grid.create({"Name": "0"}, {"Name": "bb"})
    rest = query(grid, sorts=[{"field": grid.key("Name")}], limit=2, cursor=page["next"])
    assert [row["values"][grid.key("Name")] for row in rest["items"]] == ["bb", "c"]


def test_cursors_of_others_are_refused(grid: Grid) -> None:
    cursor = query(grid, limit=2)["next"]
    key = grid.key("Name")
    for body in (
        {"cursor": "nonsense"},
        {"cursor": "AAAA"},
        {"cursor": cursor, "sorts": [{"field": key}]},
        {"cursor": cursor, "filter": {"field": key, "op": "empty"}},
    ):
        answer = grid.send("post", "/rows:query", body)
        assert problem_of(answer) == (400, "invalid_request", ["cursor"])


@pytest.mark.parametrize(
    ("sorts", "field"),
    [
        ([{"field": "f0"}], "sorts.0.field"),
        (["f0"], "sorts.0"),
        ([{"field": "id", "desc": "yes"}], "sorts.0.desc"),
        ([{"field": "id", "nulls": "first"}], "sorts.0"),
    ],
)
def test_sorts_that_are_refused(grid: Grid, sorts: list[Any], field: str) -> None:
    answer = grid.send("post", "/rows:query", {"sorts": sorts})
    assert problem_of(answer) == (400, "invalid_request", [field])
    unsorted = grid.send("post", "/rows:query", {"sorts": [{"field": grid.key("Data")}]})
    assert problem_of(unsorted) == (400, "invalid_request", ["sorts.0.field"])


def test_counts(grid: Grid) -> None:
    some = condition(grid, "Count", "not_empty")
    assert query(grid)["count"] is None
    exact = query(grid, filter=some, limit=1, count="exact")
    assert (exact["count"], exact["is_capped"]) == (5, False)
    assert query(grid, filter=some, count="capped")["count"] == 5


def test_only_the_fields_that_are_wanted(grid: Grid) -> None:
    [row] = query(grid, fields=[grid.key("Count")], limit=1)["items"]
    assert row["values"] == {grid.key("Count"): 2}
    answer = grid.send("post", "/rows:query", {"fields": ["f0"]})
    assert problem_of(answer) == (400, "invalid_request", ["fields.0"])


def test_queries_do_not_grow_with_rows(grid: Grid) -> None:
    with statements() as of_one_row:
        query(grid, limit=1, count="exact")
    grid.create(*({"Name": f"row {number}"} for number in range(300)))
    with statements() as of_many_rows:
        assert len(query(grid, limit=300, count="exact")["items"]) == 300
    assert len(of_many_rows) == len(of_one_row) == 5


# --- Groups -------------------------------------------------------------------------------------
def _aggregate(grid: Grid, **body: Any) -> Any:
    answer = grid.send("post", ":aggregate", body)
    assert answer.status_code == 200, answer.content
    return [
        (group["values"], group["count"], list(group["aggregates"].values()))
        for group in answer.json()["groups"]
    ]


def test_groups(grid: Grid) -> None:
    level, count, price, day = (grid.key(name) for name in ("Level", "Count", "Price", "Day"))
    assert _aggregate(grid, groups=[level], aggregates={count: "sum", price: "min"}) == [
        ([1], 2, [3, -5]),
        ([2], 1, [2, 1.1]),
        ([None], 4, [14, None]),
    ]
    by_month = [{"field": day, "bucket": "month", "desc": True}]
    assert _aggregate(grid, groups=by_month) == [
        (["2026-01-01T00:00:00Z"], 2, []),
        (["2025-12-01T00:00:00Z"], 1, []),
        ([None], 4, []),
    ]
    assert _aggregate(grid, groups=[level, count], filter=condition(grid, "Level", "is", 1)) == [
        ([1, 1], 1, []),
        ([1, 2], 1, []),
    ]


def test_all_rows_as_one_group(grid: Grid) -> None:
    keys = {grid.key("Count"): "avg", grid.key("Name"): "distinct", grid.key("Day"): "empty"}
    assert _aggregate(grid, aggregates=keys) == [([], 7, [3.8, 7, 4])]


@subtested(
    ("body", "field"),
    [
        ({"groups": ["Data"]}, "groups.0.field"),
        ({"groups": ["Tags"]}, "groups.0.field"),
        ({"groups": ["Name", "Count", "Day"]}, "groups"),
        ({"groups": [{"field": "Name", "bucket": "day"}]}, "groups.0.bucket"),
        ({"groups": [{"field": "Day", "bucket": "era"}]}, "groups.0.bucket"),
        ({"aggregates": {"Name": "sum"}}, "aggregates.Name"),
        ({"aggregates": {"Count": "median"}}, "aggregates.Count"),
    ],
)
def test_groups_that_are_refused(grid: Grid, body: dict[str, Any], field: str) -> None:
    def keyed(value: Any) -> Any:
        if isinstance(value, str):
            return grid.fields[value]["key"] if value in grid.fields else value
        if isinstance(value, dict):
            return {keyed(name): keyed(item) for name, item in value.items()}
        return [keyed(item) for item in value]

    for name in grid.fields:
        field = field.replace(f".{name}", f".{grid.key(name)}")
    assert problem_of(grid.send("post", ":aggregate", keyed(body))) == (
        400,
        "invalid_request",
        [field],
    )


def test_other_users_see_nothing(grid: Grid, bob: User, client_of: ClientOf) -> None:
    other = as_user(grid, client_of(bob))
    for path in ("/rows:query", ":aggregate", ":open", ":undo", ":redo"):
        assert other.send("post", path, {}).status_code == 404
    assert other.send("post", "/rows:move", {"rows": [1]}).status_code == 404
    assert other.send("get", "/views").status_code == 404


# --- Order by hand ------------------------------------------------------------------------------
def _move(grid: Grid, names: str, **target: str) -> Any:
    ids = _ids(grid)
    body = {name: ids[label] for name, label in target.items()}
    return grid.send("post", "/rows:move", {"rows": [ids[name] for name in names], **body})


def _ids(grid: Grid) -> dict[str, int]:
    rows = query(grid, limit=500)["items"]
    return {row["values"][grid.key("Name")]: row["id"] for row in rows}


def _by_hand(grid: Grid) -> str:
    rows = query(grid, sorts=[{"field": "pos"}], limit=500)["items"]
    return "".join(row["values"][grid.key("Name")] for row in rows)


def test_moving_rows(grids: Grids) -> None:
    grid = grids.make(Name="text")
    grid.create(*({"Name": name} for name in "abcde"))
    for names, target, order in (
        ("e", {"before": "a"}, "eabcd"),
        ("ab", {"after": "d"}, "ecdab"),
        ("dc", {"before": "a"}, "edcab"),
        ("e", {}, "dcabe"),
    ):
        assert _move(grid, names, **target).status_code == 200
        assert _by_hand(grid) == order


def test_moving_to_one_place_again_and_again(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving a gap ends after some thirty times: then all rows get new numbers."""
    monkeypatch.setattr(positions, "MIN_GAP", 0.1)
    grid = grids.make(Name="text")
    grid.create(*({"Name": name} for name in "abc"))
    for number in range(8):
        assert _move(grid, "c" if number % 2 else "b", after="a").status_code == 200
        assert _by_hand(grid) == ("acb" if number % 2 else "abc")


def test_moves_that_are_refused(grids: Grids) -> None:
    grid = grids.make(Name="text")
    grid.create(*({"Name": name} for name in "ab"))
    assert problem_of(_move(grid, "a", before="b", after="b"))[0] == 400
    assert problem_of(_move(grid, "aa", before="b"))[0] == 400
    assert problem_of(_move(grid, "a", before="a"))[0] == 400
    assert grid.send("post", "/rows:move", {"rows": [999]}).status_code == 404
    assert grid.send("post", "/rows:move", {"rows": [1], "before": 999}).status_code == 404
    assert _by_hand(grid) == "ab"
