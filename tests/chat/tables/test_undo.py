"""Undo and redo: steps of one user in one tab, checked cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
from guardian.shortcuts import assign_perm

from accounts.models import User
from chat.tables import undo
from chat.tables.models import Change, Table
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.chat.tables.queries import query
from tests.conftest import ClientOf

pytestmark = pytest.mark.django_db
TAB = {"client": "tab"}


@pytest.fixture
def grid(grids: Grids) -> Grid:
    return grids.make(Name="text", Count="integer")


def _set(grid: Grid, row: int, client: str = "tab", **values: Any) -> None:
    answer = grid.batch({"op": "update", "id": row, "values": values}, client=client)
    assert answer.status_code == 200, answer.content


def _step(grid: Grid, direction: str, **body: Any) -> Any:
    answer = grid.send("post", f":{direction}", {**TAB, **body})
    assert answer.status_code == 200, answer.content
    return answer.json()


def _names(grid: Grid) -> list[Any]:
    return [row["values"][grid.key("Name")] for row in query(grid)["items"]]


def test_there_and_back(grid: Grid) -> None:
    [row] = grid.create({"Name": "a"})
    for name in ("b", "c", "d"):
        _set(grid, row, Name=name)
    seen = []
    for direction in ("undo", "undo", "redo", "undo", "undo", "undo", "redo", "redo", "redo"):
        _step(grid, direction)
        seen.append(_names(grid)[0])
    assert seen == ["c", "b", "c", "b", "a", "a", "b", "c", "d"]
    assert _step(grid, "redo")["change"] is None


def test_a_step_says_which_change_it_takes_back(grid: Grid) -> None:
    """By that a page undoes a paste at once that took several requests."""
    [row] = grid.create({"Name": "a"})
    edited = grid.batch({"op": "update", "id": row, "values": {"Name": "b"}}, **TAB).json()
    undone = _step(grid, "undo")
    redone = _step(grid, "redo")
    again = _step(grid, "undo")
    revs = [step["of_rev"] for step in (undone, redone, again)]
    assert revs == [edited["rev"], undone["rev"], redone["rev"]]
    assert _step(grid, "undo", client="another tab")["of_rev"] is None


def test_an_edit_ends_what_can_be_redone(grid: Grid) -> None:
    [row] = grid.create({"Name": "a"})
    _set(grid, row, Name="b")
    _step(grid, "undo")
    _set(grid, row, Name="c")
    assert _step(grid, "redo")["change"] is None
    assert _names(grid) == ["c"]
    _step(grid, "undo")
    assert _names(grid) == ["a"]


def test_created_and_deleted_rows_come_back_as_they_were(grid: Grid) -> None:
    rows = [{"op": "create", "values": {"Name": name, "Count": 1}} for name in "ab"]
    first, second = (result["id"] for result in grid.batch(*rows, **TAB).json()["results"])
    grid.batch({"op": "delete", "id": first}, **TAB)
    assert _names(grid) == ["b"]
    _step(grid, "undo")
    assert grid.row(first) == {"Name": "a", "Count": 1}
    _step(grid, "undo")
    assert _names(grid) == []
    _step(grid, "redo")
    assert grid.row(second) == {"Name": "b", "Count": 1}


def test_each_tab_and_user_for_itself(grid: Grid, bob: User, client_of: ClientOf) -> None:
    [row] = grid.create({"Name": "a"})
    _set(grid, row, Name="b")
    _set(grid, row, client="other", Count=1)
    assign_perm("tables.change_table", bob, Table.objects.get(pk=grid.id))
    other = as_user(grid, client_of(bob))
    assert _step(other, "undo")["change"] is None
    _step(grid, "undo")
    assert grid.row(row) == {"Name": "a", "Count": 1}
    header = grid.send("post", ":undo", {}, X_Client_Id="other")
    assert header.json()["rev"] is not None
    assert grid.row(row) == {"Name": "a", "Count": None}


def test_a_tab_by_its_header(grid: Grid) -> None:
    create = {"operations": [{"op": "create", "values": {}}]}
    assert grid.send("post", "/rows:batch", create, X_Client_Id="mine").status_code == 200
    assert grid.send("post", ":undo", {}).json()["change"] is None
    assert grid.send("post", ":undo", {}, X_Client_Id="mine").json()["change"] is not None
    assert _names(grid) == []


def test_a_repeated_request_undoes_once(grid: Grid) -> None:
    [row] = grid.create({"Name": "a"})
    _set(grid, row, Name="b")
    _set(grid, row, Name="c")
    answers = [grid.send("post", ":undo", TAB, Idempotency_Key="k").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert _names(grid) == ["b"]


def test_a_step_that_was_too_large_to_be_kept(grid: Grid) -> None:
    """No older one is undone in its place."""
    [row] = grid.create({"Name": "a"})
    _set(grid, row, Name="b")
    _set(grid, row, Name="c")
    Change.objects.filter(pk=Change.objects.latest("id").pk).update(inverse=None)
    answer = grid.send("post", ":undo", TAB)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert _names(grid) == ["c"]


def test_a_cell_that_others_have_changed_stays(grid: Grid, bob: User, client_of: ClientOf) -> None:
    [row] = grid.create({"Name": "a", "Count": 1})
    _set(grid, row, Name="b", Count=2)
    assign_perm("tables.change_table", bob, Table.objects.get(pk=grid.id))
    _set(as_user(grid, client_of(bob)), row, Name="bob's")
    done = _step(grid, "undo")
    assert grid.row(row) == {"Name": "bob's", "Count": 1}
    [conflict] = done["conflicts"]
    assert (conflict["row"], conflict["field"], conflict["value"]) == (
        row,
        grid.key("Name"),
        "bob's",
    )


def test_a_field_that_was_deleted_is_left_out(grid: Grid) -> None:
    [row] = grid.create({"Name": "a", "Count": 1})
    _set(grid, row, Name="b", Count=2)
    field = grid.fields.pop("Count")
    assert grid.client.delete(f"/api/tables/fields/{field['id']}").status_code == 204
    assert _step(grid, "undo")["conflicts"] == []
    assert grid.row(row) == {"Name": "a"}


def test_moves_are_undone(grid: Grid) -> None:
    first, second = grid.create({"Name": "a"}, {"Name": "b"})
    grid.send("post", "/rows:move", {"rows": [second], "before": first, **TAB})

    def by_hand() -> list[int]:
        return [row["id"] for row in query(grid, sorts=[{"field": "pos"}])["items"]]

    assert by_hand() == [second, first]
    _step(grid, "undo")
    assert by_hand() == [first, second]
    _step(grid, "redo")
    assert by_hand() == [second, first]


def test_one_change_by_its_id(grid: Grid) -> None:
    [row] = grid.create({"Name": "a", "Count": 1})
    _set(grid, row, Name="b")
    change = Change.objects.filter(table=grid.id).latest("id")
    _set(grid, row, Count=2)
    _step(grid, "undo", change=change.pk)
    assert grid.row(row) == {"Name": "a", "Count": 2}
    assert grid.send("post", ":undo", {"change": change.pk}).status_code == 409
    assert grid.send("post", ":undo", {"change": 10**12}).status_code == 400
    assert grid.send("post", ":undo", {"batch": "x"}).status_code == 400


def test_a_hundred_steps(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "MAX_STEPS", 3)
    [row] = grid.create({"Name": "0"})
    for number in range(1, 6):
        _set(grid, row, Name=f"{number}")
    for _ in range(6):
        _step(grid, "undo")
    assert _names(grid) == ["2"]
    for _ in range(6):
        _step(grid, "redo")
    assert _names(grid) == ["5"]


def test_readers_undo_nothing(grid: Grid, bob: User, client_of: ClientOf) -> None:
    assign_perm("tables.view_table", bob, Table.objects.get(pk=grid.id))
    reader = as_user(grid, client_of(bob))
    assert reader.send("post", ":undo", {}).status_code == 403
    assert reader.send("post", ":redo", {}).status_code == 403
