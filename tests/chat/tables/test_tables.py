"""Tables and fields over REST, and what they are in PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aily.database.rows import execute, fetch_column
from chat.tables import ddl
from chat.tables.models import Field, Import, Table
from tests.chat.tables.conftest import Grids, as_user
from tests.conftest import ClientOf

JSON = "application/json"


def columns(table_id: int) -> list[str]:
    return fetch_column(
        str,
        "SELECT column_name || ' ' || data_type FROM information_schema.columns "
        "WHERE table_schema = 'tables' AND table_name = %s ORDER BY ordinal_position",
        [f"t{table_id}"],
    )


def test_a_table_is_one_of_postgresql_with_a_typed_column_a_field(grids: Grids) -> None:
    grid = grids.make(
        Subject="text", Count="integer", Price="number", Done="boolean", Day="date",
        At="datetime", State=("select", {"choices": ["Open"]}), Raw="json",
    )  # fmt: skip
    types = ["text", "bigint", "numeric", "boolean", "date", "timestamp with time zone",
             "integer", "jsonb"]  # fmt: skip
    found = columns(grid.id)[4:]
    expected = [
        f"{field['key']} {kind}" for field, kind in zip(grid.fields.values(), types, strict=True)
    ]
    assert found == expected
    shown = grids.client.get(grid.path).json()
    assert [field["name"] for field in shown["fields"]] == list(grid.fields)
    assert shown["access"] == ["read", "review", "run", "edit", "own"]
    assert shown["owner"] == "alice"


def test_tables_are_listed_searched_renamed_and_restored(grids: Grids) -> None:
    first, second = grids.make("Tickets"), grids.make("Orders")
    listed = grids.client.get("/api/tables?search=tick").json()
    assert [item["id"] for item in listed["items"]] == [first.id]
    etag = second.send("get", "")["ETag"]
    renamed = second.send("patch", "", {"name": "  Purchases "}, If_Match=etag)
    assert renamed.json()["name"] == "Purchases"
    assert second.send("patch", "", {"name": "x"}, If_Match=etag).status_code == 412
    assert second.send("patch", "", {"name": "  "}).status_code == 400
    assert second.send("patch", "", {"name": None}).status_code in (400, 422)
    assert second.send("patch", "", {"max_rows": 5}).status_code == 403
    assert second.send("delete", "").status_code == 204
    assert [item["id"] for item in grids.client.get("/api/tables").json()["items"]] == [first.id]
    trash = grids.client.get("/api/tables?is_deleted=true").json()
    assert [item["id"] for item in trash["items"]] == [second.id]
    assert second.send("post", "/rows", {"values": {}}).status_code == 404
    assert second.send("post", ":restore").json()["deleted_at"] is None
    assert second.send("post", "/rows", {"values": {}}).status_code == 201


def test_making_a_table_twice_with_one_key_makes_one(grids: Grids) -> None:
    body = {"name": "Once", "fields": [{"name": "A", "kind": "text"}]}
    headers = {"Idempotency-Key": "make-1"}
    answers = [
        grids.client.post("/api/tables", body, content_type=JSON, headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert Table.objects.count() == 1


def test_names_in_any_script_are_names_and_no_part_of_sql(grids: Grids) -> None:
    names = ["数量", "🎉", 'x"; DROP TABLE tables_table; --', "f1", "id", "%s"]
    grid = grids.make(**dict.fromkeys(names, "text"))
    [row] = grid.create({name: f"value of {name}" for name in names})
    assert grid.row(row) == {name: f"value of {name}" for name in names}


_WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("", "text", {}, "name"),
    ("x" * 201, "text", {}, "name"),
    ("A", "text", {}, "name"),
    ("B", "text", {"choices": []}, "options.choices"),
    ("B", "select", {"choices": ["x", "x"]}, "options.choices.1.name"),
    ("B", "select", {"choices": [{"id": 3, "name": "x"}]}, "options.choices.0.id"),
    ("B", "select", {"choices": [{"name": "x", "color": "URL()"}]}, "options.choices.0.color"),
    ("B", "select", {"choices": "x"}, "options.choices"),
    ("B", "multi_select", {"choices": [1]}, "options.choices.0"),
    ("B", "number", {"decimals": 99}, "options.decimals"),
    ("B", "link", {}, "options.table"),
    ("B", "link", {"table": 2**70}, "options.table"),
    ("B", "money", {}, "kind"),
]


@pytest.mark.parametrize(("name", "kind", "options", "where"), _WRONG)
def test_a_wrong_field_is_refused_and_named(
    grids: Grids, name: str, kind: str, options: dict[str, Any], where: str
) -> None:
    grid = grids.make(A="text")
    refused = grid.send("post", "/fields", {"name": name, "kind": kind, "options": options})
    assert refused.status_code in (400, 409, 422), refused.content
    assert refused.json()["errors"][0]["field"].endswith(where)
    assert Field.objects.count() == 1
    assert len(columns(grid.id)) == 5


def test_adding_renaming_moving_and_deleting_fields(grids: Grids) -> None:
    grid = grids.make(A="text", B="text")
    before = grid.send("get", "").json()["schema_rev"]
    added = grid.add_field("C", "integer")
    field = f"/api/tables/fields/{added['id']}"
    client = grids.client
    moved = client.patch(field, {"name": "Count", "position": 0}, content_type=JSON)
    assert moved.json()["name"] == "Count"
    assert [row["name"] for row in grid.send("get", "/fields").json()] == ["Count", "A", "B"]
    assert client.patch(field, {"name": "A"}, content_type=JSON).json()["code"] == "conflict"
    [row] = grid.create({"A": "x"})
    grid.send("patch", f"/rows/{row}", {"values": {added["key"]: 5}})
    assert client.delete(field).status_code == 204
    assert added["key"] not in grid.send("get", f"/rows/{row}").json()["values"]
    refused = grid.send("patch", f"/rows/{row}", {"values": {added["key"]: 6}})
    assert refused.json()["errors"][0]["field"] == f"values.{added['key']}"
    grid.add_field("Count", "text")
    restored = client.post(f"{field}:restore").json()
    assert restored["name"] == "Count (2)"
    assert grid.send("get", f"/rows/{row}").json()["values"][added["key"]] == 5
    assert grid.send("get", "").json()["schema_rev"] > before


def test_changes_of_fields_are_undone_and_redone(grids: Grids) -> None:
    grid = grids.make(A="text", B="text")
    [row] = grid.create({"A": "kept"})
    field, tab = f"/api/tables/fields/{grid.fields['A']['id']}", {"X-Client-Id": "tab"}

    def names() -> list[str]:
        return [shown["name"] for shown in grid.send("get", "/fields").json()]

    def step(direction: str) -> list[str]:
        assert grid.send("post", f":{direction}", {}, **tab).json()["rev"] is not None
        return names()

    body = {"name": "First", "position": 1}
    grids.client.patch(field, body, content_type=JSON, headers=tab)
    grid.send("post", "/fields", {"name": "C", "kind": "integer"}, **tab)
    grids.client.delete(field, headers=tab)
    assert names() == ["B", "C"]
    assert step("undo") == ["B", "First", "C"]
    assert grid.send("get", f"/rows/{row}").json()["values"][grid.key("A")] == "kept"
    assert step("undo") == ["B", "First"]
    assert step("undo") == ["A", "B"]
    assert step("redo") == ["B", "First"]
    assert step("redo") == ["B", "First", "C"]
    assert step("redo") == ["B", "C"]


def test_a_choice_that_cells_have_is_not_removed_and_no_id_is_used_again(grids: Grids) -> None:
    grid = grids.make(State=("select", {"choices": ["Open", "Shut"]}))
    [row] = grid.create({"State": "Open"})
    field = grid.fields["State"]
    path = f"/api/tables/fields/{field['id']}"
    open_, shut = field["options"]["choices"]
    refused = grids.client.patch(path, {"options": {"choices": [shut]}}, content_type=JSON)
    assert refused.status_code == 409
    assert "1 cells have one of 'Open'" in refused.json()["detail"]
    assert refused.json()["params"] == {"rule": "choices_used", "count": "1", "names": "'Open'"}
    kept = {"choices": [{**open_, "name": "Opened"}, "New"]}
    changed = grids.client.patch(path, {"options": kept}, content_type=JSON).json()
    assert [choice["id"] for choice in changed["options"]["choices"]] == [1, 3]
    assert grid.row(row) == {"State": 1}


def test_a_table_has_at_most_200_fields_and_a_full_row_fits(grids: Grids) -> None:
    grid = grids.make(**{f"F{number}": "text" for number in range(200)})
    refused = grid.send("post", "/fields", {"name": "One more", "kind": "text"})
    assert refused.json()["code"] == "table_full"
    assert refused.json()["params"] == {"rule": "fields_full", "limit": "200"}
    [row] = grid.create({f"F{number}": f"{number:04}" * 500 for number in range(200)})
    assert grid.row(row)["F199"] == "0199" * 500
    # Values too short to be stored elsewhere are small enough for the page.
    [row] = grid.create({f"F{number}": "x" * 30 for number in range(200)})
    assert grid.row(row)["F7"] == "x" * 30


def test_limits_of_tables(grids: Grids, settings: Settings) -> None:
    settings.TABLES_MAX_PER_USER = 1
    grid = grids.make(A="text")
    refused = grids.client.post("/api/tables", {"name": "Two"}, content_type=JSON)
    assert (refused.status_code, refused.json()["code"]) == (409, "table_full")
    settings.TABLES_MAX_PER_USER, settings.TABLES_MAX = 5, 1
    refused = grids.client.post("/api/tables", {"name": "Two"}, content_type=JSON)
    assert refused.json()["code"] == "table_full"
    settings.TABLE_MAX_ROWS = 2
    grid.create({"A": "1"}, {"A": "2"})
    full = grid.batch({"op": "create", "values": {}})
    assert (full.status_code, full.json()["code"]) == (409, "table_full")
    assert full.json()["params"] == {"rule": "rows_full", "limit": "2"}
    assert Table.objects.get().row_count == 2


# --- Locks --------------------------------------------------------------------------------------
def test_a_change_of_fields_gives_up_when_others_hold_the_table(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grids.make(A="text")
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            execute("SELECT id FROM tables_table WHERE id = %s FOR KEY SHARE", [grid.id])
            is_held.set()
            may_end.wait(10)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert is_held.wait(10)
        monkeypatch.setattr(ddl.bound_waits, "__defaults__", (0.05,))
        refused = grid.send("post", "/fields", {"name": "B", "kind": "text"})
        assert (refused.status_code, refused.json()["code"]) == (409, "table_busy")
        assert refused["Retry-After"] == "2"
    finally:
        may_end.set()
        holder.join()
    assert grid.send("post", "/fields", {"name": "B", "kind": "text"}).status_code == 201


def test_fields_stay_as_they_are_while_a_file_is_imported(grids: Grids, alice: User) -> None:
    grid = grids.make(A="text")
    running = Import.objects.create(table_id=grid.id, owner=alice, format="csv", state="running")
    refused = grid.send("post", "/fields", {"name": "B", "kind": "text"})
    assert (refused.status_code, refused.json()["code"]) == (409, "table_busy")
    assert grid.send("delete", "").status_code == 409
    Import.objects.filter(pk=running.pk).update(state="done")
    assert grid.send("post", "/fields", {"name": "B", "kind": "text"}).status_code == 201


# --- Whose they are -----------------------------------------------------------------------------
def test_another_user_finds_nothing(grids: Grids, bob: User, client_of: ClientOf) -> None:
    grid = grids.make(A="text")
    [row] = grid.create({"A": "x"})
    others = as_user(grid, client_of(bob))
    field = grid.fields["A"]["id"]
    assert others.client.get("/api/tables").json()["count"] == 0
    for method, path, body in (
        ("get", "", None), ("patch", "", {"name": "y"}), ("delete", "", None),
        ("post", ":restore", None), ("get", "/fields", None),
        ("post", "/fields", {"name": "B", "kind": "text"}), ("get", f"/rows/{row}", None),
        ("get", f"/rows?ids={row}", None), ("patch", f"/rows/{row}", {"values": {}}),
        ("delete", f"/rows/{row}", None), ("post", "/rows", {"values": {}}),
        ("post", "/rows:batch", {"operations": [{"op": "delete", "id": row}]}),
    ):  # fmt: skip
        assert others.send(method, path, body).status_code == 404, (method, path)
    for method in ("get", "delete"):
        assert getattr(others.client, method)(f"/api/tables/fields/{field}").status_code == 404
    assert Client().get(grid.path).status_code == 401
    assert grid.row(row) == {"A": "x"}


def test_deleting_a_user_drops_their_tables(grids: Grids, alice: User) -> None:
    grid = grids.make(A="text")
    other = grids.make("Other", Link=("link", {"table": grid.id}))
    link = other.fields["Link"]["id"]
    User.objects.get(pk=alice.pk).delete()
    assert columns(grid.id) == columns(other.id) == []
    assert fetch_column(bool, "SELECT to_regclass(%s) IS NULL", [f"tables.l{link}"]) == [True]
