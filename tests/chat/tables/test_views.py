"""Views: who sees and changes them, and the snapshots that one scrolls through."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from guardian.shortcuts import assign_perm

from accounts.models import User
from aily.cache import store
from chat.tables import keys, snapshots
from chat.tables.models import Table
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.chat.tables.queries import condition, problem_of, statements
from tests.conftest import ClientOf
from tests.subtests import subtested

pytestmark = pytest.mark.django_db


@pytest.fixture
def grid(grids: Grids) -> Grid:
    grid = grids.make(Name="text", Count="integer")
    grid.create(*({"Name": f"n{number:02}", "Count": number % 3} for number in range(20)))
    return grid


def _create(grid: Grid, **view: Any) -> Any:
    answer = grid.send("post", "/views", {"name": "A view", **view})
    assert answer.status_code == 201, answer.content
    return answer.json()


def _call(grid: Grid, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """A call that is not below the table's own path."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    return getattr(grid.client, method)(f"/api/tables/{path}", headers=given, **content)


def _open(grid: Grid, view: Any, **body: Any) -> Any:
    answer = _call(grid, "post", f"views/{view['id']}:open", body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def _names(grid: Grid, snapshot: Any, start: int = 0, number: int = 500) -> list[Any]:
    rows = _rows(grid, snapshot, start, number)["items"]
    return [row and row["values"][grid.key("Name")] for row in rows]


def _rows(grid: Grid, snapshot: Any, start: int = 0, number: int = 500) -> Any:
    path = f"snapshots/{snapshot['id']}/rows?from={start}&n={number}"
    answer = _call(grid, "get", path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def _changes(grid: Grid, snapshot: Any) -> tuple[int, int]:
    found = _call(grid, "get", f"snapshots/{snapshot['id']}/changes").json()
    return found["entered"], found["left"]


# --- Storing ------------------------------------------------------------------------------------
def test_storing_a_view(grid: Grid) -> None:
    name, count = grid.key("Name"), grid.key("Count")
    parts = {
        "filter": condition(grid, "Count", "gt", 0),
        "sorts": [{"field": name, "desc": True}],
        "groups": [count],
        "aggregates": {count: "sum"},
        "hidden": [count],
        "order": [count, name],
        "frozen": 1,
        "widths": {name: 120},
        "collation": "",
    }
    view = _create(grid, **parts)
    assert {part: view[part] for part in parts} == parts
    assert view["is_own"]
    assert not view["is_shared"]
    assert grid.send("get", "/views").json() == [view]

    read = _call(grid, "get", f"views/{view['id']}")
    changed = _call(grid, "patch", f"views/{view['id']}", {"hidden": []}, If_Match=read["ETag"])
    assert changed.json()["hidden"] == []
    assert changed.json()["filter"] == parts["filter"]
    late = _call(grid, "patch", f"views/{view['id']}", {"frozen": 0}, If_Match=read["ETag"])
    assert late.status_code == 412
    assert _call(grid, "delete", f"views/{view['id']}").status_code == 204
    assert _call(grid, "get", f"views/{view['id']}").status_code == 404


@subtested(
    ("part", "field", "rule"),
    [
        ({"filter": {"field": "f0", "op": "empty"}}, "filter.field", "no_such_field"),
        ({"sorts": [{"field": "f0"}]}, "sorts.0.field", "no_such_field"),
        ({"groups": ["f0"]}, "groups.0.field", "no_such_field"),
        ({"aggregates": {"f0": "sum"}}, "aggregates.f0", "no_such_field"),
        ({"hidden": ["f0"]}, "hidden.0", "no_such_field"),
        ({"order": ["f0"]}, "order.0", "no_such_field"),
        ({"widths": {"f0": 100}}, "widths.f0", "no_such_field"),
        ({"widths": {"id": 1}}, "widths.id", "column_width"),
        ({"collation": "x"}, "collation", "one_of"),
        ({"name": " "}, "name", "unnamed_view"),
        (
            {"filter": {"field": "id", "op": "in", "value": ["x" * 70_000]}},
            "filter",
            "too_many_bytes",
        ),
    ],
)
def test_parts_that_are_refused(grid: Grid, part: dict[str, Any], field: str, rule: str) -> None:
    answer = grid.send("post", "/views", {"name": "A view", **part})
    assert problem_of(answer) == (400, "invalid_request", [field])
    assert answer.json()["params"]["rule"] == rule
    assert grid.send("get", "/views").json() == []


def test_who_sees_and_changes_views(grid: Grid, bob: User, client_of: ClientOf) -> None:
    own, shared = _create(grid), _create(grid, is_shared=True)
    table = Table.objects.get(pk=grid.id)
    assign_perm("tables.view_table", bob, table)
    reader = as_user(grid, client_of(bob))

    seen = reader.send("get", "/views").json()
    assert [(view["id"], view["is_own"]) for view in seen] == [(shared["id"], False)]
    assert _call(reader, "get", f"views/{own['id']}").status_code == 404
    assert _call(reader, "post", f"views/{own['id']}:open", {}).status_code == 404
    assert _call(reader, "patch", f"views/{shared['id']}", {"name": "x"}).status_code == 403
    assert _call(reader, "delete", f"views/{shared['id']}").status_code == 403
    assert reader.send("post", "/views", {"name": "x", "is_shared": True}).status_code == 403
    _create(reader, name="Bob's")
    assert len(_rows(reader, _open(reader, shared))["items"]) == 20

    assign_perm("tables.change_table", bob, table)
    assert _call(reader, "patch", f"views/{shared['id']}", {"name": "x"}).status_code == 200
    assert _call(reader, "get", f"views/{own['id']}").status_code == 404


def test_a_view_of_a_field_that_was_deleted(grid: Grid) -> None:
    """What it says of the field is left out, and told."""
    view = _create(
        grid,
        filter={"and": [condition(grid, "Count", "is", 1), condition(grid, "Name", "is", "n01")]},
        sorts=[{"field": grid.key("Count")}, {"field": grid.key("Name"), "desc": True}],
        groups=[grid.key("Count")],
    )
    count = grid.fields["Count"]
    assert _call(grid, "delete", f"fields/{count['id']}").status_code == 204

    snapshot = _open(grid, view)
    assert snapshot["ignored"] == [count["key"]]
    assert _names(grid, snapshot) == ["n01"]
    # Other parts of it can still be changed.
    assert _call(grid, "patch", f"views/{view['id']}", {"frozen": 2}).status_code == 200


# --- Snapshots ----------------------------------------------------------------------------------
def test_any_place_of_a_snapshot(grid: Grid) -> None:
    view = _create(
        grid,
        filter=condition(grid, "Count", "lt", 2),
        sorts=[{"field": grid.key("Count"), "desc": True}, {"field": grid.key("Name")}],
    )
    snapshot = _open(grid, view, n=2)
    assert snapshot["count"] == 14
    assert [row["values"][grid.key("Name")] for row in snapshot["items"]] == ["n01", "n04"]
    names = _names(grid, snapshot)
    assert names == [f"n{number:02}" for rest in (1, 0) for number in range(rest, 20, 3)]
    assert _names(grid, snapshot, 6, 3) == names[6:9]
    assert _names(grid, snapshot, 13, 100) == names[13:]
    assert _names(grid, snapshot, 14, 100) == []


def test_parts_in_place_of_those_that_are_stored(grid: Grid) -> None:
    view = _create(grid, filter=condition(grid, "Count", "is", 1))
    by_name = [{"field": grid.key("Name"), "desc": True}]
    assert _names(grid, _open(grid, view, sorts=by_name))[:2] == ["n19", "n16"]
    assert len(_names(grid, _open(grid, view, filter=None))) == 20
    answer = _call(grid, "post", f"views/{view['id']}:open", {"sorts": [{"field": "f0"}]})
    assert problem_of(answer) == (400, "invalid_request", ["sorts.0.field"])
    opened = grid.send("post", ":open", {"sorts": by_name})
    assert _names(grid, opened.json())[0] == "n19"


def test_groups_are_those_of_the_rows(grid: Grid) -> None:
    count, name = grid.key("Count"), grid.key("Name")
    view = _create(
        grid,
        groups=[{"field": count, "desc": True}],
        sorts=[{"field": name, "desc": True}],
        aggregates={count: "sum"},
    )
    snapshot = _open(grid, view)
    assert snapshot["groups"] == [
        {"values": [2], "count": 6, "aggregates": {count: 12}},
        {"values": [1], "count": 7, "aggregates": {count: 7}},
        {"values": [0], "count": 7, "aggregates": {count: 0}},
    ]
    names = _names(grid, snapshot)
    assert (names[0], names[6], names[13]) == ("n17", "n19", "n18")


@pytest.mark.parametrize("log_is_kept", [True, False])
def test_rows_that_enter_and_leave_are_counted(
    grid: Grid, log_is_kept: bool, django_capture_on_commit_callbacks: Any
) -> None:
    """They stay where they were until the view is opened again."""
    view = _create(grid, filter=condition(grid, "Count", "is", 1))
    snapshot = _open(grid, view)
    first, second = (row["id"] for row in _rows(grid, snapshot)["items"][:2])
    other = _open(grid, view, filter=condition(grid, "Count", "is", 2), n=1)["items"][0]["id"]
    assert _changes(grid, snapshot) == (0, 0)
    with django_capture_on_commit_callbacks(execute=log_is_kept):
        grid.batch({"op": "update", "id": first, "values": {"Count": 0}})
        grid.batch({"op": "update", "id": other, "values": {"Count": 1}})
        grid.batch({"op": "delete", "id": second})
        grid.create({"Name": "new", "Count": 1}, {"Name": "none", "Count": 2})

    assert _changes(grid, snapshot) == (2, 2)
    rows = _rows(grid, snapshot)["items"]
    assert rows[1] is None
    assert [row["is_outside"] for row in rows if row] == [True, *[False] * 5]
    assert rows[0]["values"][grid.key("Count")] == 0
    again = _open(grid, view)
    assert again["count"] == 7
    assert _changes(grid, again) == (0, 0)


def test_a_snapshot_is_of_its_table_alone(grid: Grid, bob: User, client_of: ClientOf) -> None:
    snapshot = grid.send("post", ":open", {}).json()
    other = as_user(grid, client_of(bob))
    for path in ("rows", "changes"):
        assert _call(other, "get", f"snapshots/{snapshot['id']}/{path}").status_code == 404


def test_snapshots_that_are_gone(grid: Grid, alice: User) -> None:
    oldest = grid.send("post", ":open", {}).json()
    for _ in range(snapshots.MAX_SNAPSHOTS_PER_USER):
        newest = grid.send("post", ":open", {}).json()
    answer = _call(grid, "get", f"snapshots/{oldest['id']}/rows")
    assert problem_of(answer)[:2] == (404, "snapshot_gone")
    assert len(_names(grid, newest)) == 20
    lives = cast("int", store.client().ttl(keys.snapshot_ids(newest["id"])))
    assert snapshots.SNAPSHOT_SECONDS - 5 < lives <= snapshots.SNAPSHOT_SECONDS
    assert store.client().llen(keys.snapshots_of(alice.pk)) == snapshots.MAX_SNAPSHOTS_PER_USER
    store.client().flushdb()
    assert _call(grid, "get", f"snapshots/{newest['id']}/changes").status_code == 404


def test_large_snapshots_are_fewer(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest is kept whatever it takes."""
    monkeypatch.setattr(snapshots, "MAX_BYTES_PER_USER", 700)
    first, second = (grid.send("post", ":open", {}).json() for _ in range(2))
    assert len(_names(grid, first)) == 20
    third = grid.send("post", ":open", {}).json()
    assert _call(grid, "get", f"snapshots/{first['id']}/rows").status_code == 404
    monkeypatch.setattr(snapshots, "MAX_BYTES_PER_USER", 0)
    assert len(_names(grid, second)) == len(_names(grid, third)) == 20
    last = grid.send("post", ":open", {}).json()
    assert len(_names(grid, last)) == 20
    assert _call(grid, "get", f"snapshots/{third['id']}/rows").status_code == 404


def test_the_filters_of_snapshots_count(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept with the ids, and may be as large as a request."""
    monkeypatch.setattr(snapshots, "MAX_BYTES_PER_USER", 20_000)
    tree = condition(grid, "Name", "in", ["x" * 150] * 80)
    first, second = (grid.send("post", ":open", {"filter": tree}).json() for _ in range(2))
    assert _call(grid, "get", f"snapshots/{first['id']}/rows").status_code == 404
    assert _call(grid, "get", f"snapshots/{second['id']}/rows").status_code == 200


def test_an_empty_view(grid: Grid) -> None:
    snapshot = _open(grid, _create(grid, filter=condition(grid, "Count", "gt", 99)))
    assert (snapshot["count"], _names(grid, snapshot)) == (0, [])


def test_pages_cost_the_same_number_of_queries(grids: Grids) -> None:
    """Links as well: one query a link field, none a row."""
    people = grids.make("People", Name="text")
    [ann] = people.create({"Name": "Ann"})
    grid = grids.make(Name="text", Who=("link", {"table": people.id}))
    grid.create(*({"Name": f"{number}", "Who": [ann]} for number in range(300)))
    snapshot = grid.send("post", ":open", {}).json()
    for number in (1, 300):
        with statements() as sent:
            rows = _rows(grid, snapshot, 0, number)["items"]
        assert len(sent) == 5, sent
        assert [row["values"][grid.key("Who")] for row in rows] == [[ann]] * number
