"""Rows over REST: batches, single rows, concurrent writers and their conflicts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from aily.database.rows import execute
from chat.reasons import SENTENCES
from chat.tables import names
from chat.tables.models import Change, Table
from chat.tables.rows import reading
from chat.tables.rows.reading import load_rows
from tests.chat.tables.conftest import Grid, Grids
from tests.subtests import subtested

CHOICES = {"choices": ["Open", "Shut", "Late"]}


@pytest.fixture
def grid(grids: Grids) -> Grid:
    return grids.make(Subject="text", Count="integer", State=("select", CHOICES))


# --- Values -------------------------------------------------------------------------------------
_KINDS: list[tuple[str, dict[str, Any], list[tuple[Any, Any]], list[Any]]] = [
    ("text", {}, [("a", "a"), ("", None), (None, None), ("数据 🎉\n", "数据 🎉\n")],
     [1, True, [], {}, "a\0", "x" * 100_001, "é" * 50_001]),
    ("long_text", {}, [("x" * 100_000, "x" * 100_000)], [1, "x" * 100_001]),
    ("integer", {}, [(0, 0), (-5, -5), (2**53 - 1, 2**53 - 1), (3.0, 3), (None, None)],
     [2**53, -(2**53), 1.5, "1", True, [], 1e300]),
    ("number", {}, [(0.1, 0.1), (1, 1), (-2.50, -2.5), (1e-20, 1e-20), (1e29, 10**29),
                    (123456789.123456, 123456789.123456)],
     ["1", True, 1e30, -1e31, 1e-31, []]),
    ("boolean", {}, [(True, True), (False, False), (None, None)], [1, 0, "true", []]),
    ("date", {}, [("2026-01-31", "2026-01-31"), ("0001-01-01", "0001-01-01"), ("", None)],
     ["2026-02-30", "31.01.2026", "2026-1-1", "20260131", 20260131, "2026-01-31T00:00:00Z"]),
    ("datetime", {}, [("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
                      ("2026-01-31T12:00:00.123456+08:00", "2026-01-31T04:00:00.123456Z"),
                      ("", None)],
     ["2026-01-31", "2026-01-31T12:00:00", "0001-01-01T00:00:00+14:00", 1, "now"]),
    ("select", CHOICES, [(1, 1), ("Shut", 2), ("", None), (None, None)], [4, "open", [1], True, 0]),
    ("multi_select", CHOICES, [([1, 3], [1, 3]), (["Late", 1, 3], [3, 1]), ([], None)],
     [1, "Open", [9], [[1]], [1] * 101]),
    ("url", {}, [("https://example.com/a?b=c", "https://example.com/a?b=c"), ("", None)],
     ["example.com", "javascript:alert(1)", "ftp://example.com", 1,
      "https://example.com/" + "x" * 2048]),
    ("email", {}, [("a@example.com", "a@example.com"), ("", None)], ["a@", "a b@example.com", 1]),
    ("json", {}, [({"b": 1, "a": [1, "x", None]}, {"b": 1, "a": [1, "x", None]}), ("text", "text"),
                  (0, 0), (False, False), ([], []), (None, None)],
     [{"x": "y" * 100_000}, "[" * 0 + "a\0"]),
]  # fmt: skip


@subtested(("kind", "options", "fitting", "unfit"), _KINDS)
def test_values_of_each_kind_are_kept_or_refused_by_name(
    grids: Grids, kind: str, options: Any, fitting: list[tuple[Any, Any]], unfit: list[Any]
) -> None:
    grid = grids.make(Value=(kind, options))
    ids = grid.create(*({"Value": value} for value, _ in fitting))
    assert [grid.row(row)["Value"] for row in ids] == [stored for _, stored in fitting]
    before = Table.objects.get(pk=grid.id).rev
    for value in unfit:
        refused = grid.batch({"op": "create", "values": {"Value": value}})
        assert refused.status_code in (400, 422), (value, refused.content)
        assert refused.json()["errors"][0]["field"].startswith("operations.0.values."), value
        # For other languages.
        assert refused.status_code == 400 or refused.json()["params"]["rule"] in SENTENCES, value
    assert Table.objects.get(pk=grid.id).rev == before


def test_json_is_bounded_in_depth(grids: Grids) -> None:
    grid = grids.make(Value="json")
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    refused = grid.batch({"op": "create", "values": {"Value": deep}})
    assert refused.json()["code"] == "invalid_value"


# --- Batches ------------------------------------------------------------------------------------
def test_a_batch_creates_updates_and_deletes(grid: Grid) -> None:
    first, second = grid.create({"Subject": "a", "Count": 1}, {"Subject": "b", "Count": 2})
    answer = grid.batch(
        {"op": "create", "values": {"Subject": "c"}},
        {"op": "update", "id": first, "values": {"Count": 10}, "was": {"Count": 1}},
        {"op": "delete", "id": second},
        client="tab-1",
    )
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["created", "updated", "deleted"]
    assert [result["version"] for result in results] == [1, 2, None]
    assert grid.row(first) == {"Subject": "a", "Count": 10, "State": None}
    assert grid.send("get", f"/rows/{second}").status_code == 404
    table = Table.objects.get(pk=grid.id)
    assert (table.row_count, table.rev) == (2, answer.json()["rev"])
    change = Change.objects.first()
    assert change is not None
    assert (change.rev, change.client, change.rows) == (table.rev, "tab-1", 3)
    assert change.user is not None
    assert change.user.username == "alice"
    subject, count = grid.key("Subject"), grid.key("Count")
    assert change.inverse == {
        "create": [{"id": second, "pos": float(second), "values": {subject: "b", count: 2}}],
        "update": [{"id": first, "values": {count: 1}, "was": {count: 10}}],
        "delete": [results[0]["id"]],
    }


def test_an_atomic_batch_is_all_or_nothing_and_another_is_not(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a"})
    operations: list[dict[str, Any]] = [
        {"op": "update", "id": row, "values": {"Subject": "b"}},
        {"op": "create", "values": {"Count": "many"}},
        {"op": "delete", "id": row + 1000},
        {"op": "update", "id": row, "values": {"Count": 1}},
    ]
    refused = grid.batch(*operations)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == f"operations.1.values.{grid.key('Count')}"
    assert grid.row(row)["Subject"] == "a"
    done = grid.batch(*operations, atomic=False).json()["results"]
    assert [result["status"] for result in done] == ["updated", "failed", "failed", "failed"]
    assert [result["error"]["code"] for result in done[1:]] == [
        "invalid_value", "not_found", "invalid_request",
    ]  # fmt: skip
    assert done[1]["error"]["params"] == {"rule": "not_integer"}
    assert done[3]["error"]["field"] == "operations.3.id"
    assert grid.row(row)["Subject"] == "b"


def test_a_batch_is_bounded_and_strict(grid: Grid) -> None:
    create = {"op": "create", "values": {}}
    assert grid.batch(*[create] * 1000).status_code == 200
    assert grid.batch(*[create] * 1001).status_code == 422
    assert grid.batch().status_code == 422
    assert grid.batch({"op": "replace", "values": {}}).status_code == 422
    assert grid.batch({**create, "colour": 1}).status_code == 422
    assert grid.batch({"op": "delete", "id": 2**63}).status_code == 422
    assert grid.send("get", f"/rows/{2**63}").status_code == 404
    assert grid.send("delete", f"/rows/{2**63}").status_code == 404
    assert Table.objects.get(pk=grid.id).row_count == 1000


@pytest.mark.parametrize("count", [1, 300])
def test_the_number_of_queries_does_not_depend_on_the_rows(grids: Grids, count: int) -> None:
    other = grids.make("Other", Name="text")
    [target] = other.create({"Name": "x"})
    grid = grids.make(A="text", B="integer", Key="text", Link=("link", {"table": other.id}))
    first = grid.create(*({"A": "a", "Key": f"k{n}"} for n in range(count)))
    gone = grid.create(*({"A": "b"} for _ in range(count)))

    def operations(number: int) -> list[dict[str, Any]]:
        values = {"A": "x", "B": number, "Link": [target]}
        return [
            {"op": "create", "values": values},
            {"op": "update", "id": first[number], "values": values, "was": {"A": "a"}},
            {"op": "delete", "id": gone[number]},
            {"op": "upsert", "values": {"Key": f"new {number}", "A": "y"}},
        ]

    batch = [operation for number in range(min(count, 250)) for operation in operations(number)]
    with CaptureQueriesContext(connection) as queries:
        answer = grid.batch(*batch, key=grid.key("Key"))
    assert answer.status_code == 200, answer.content
    assert len(queries) == WRITE_QUERIES, [query["sql"][:90] for query in queries]
    ids = [result["id"] for result in answer.json()["results"]]
    with CaptureQueriesContext(connection) as queries:
        found = grid.send("get", "/rows?" + "&".join(f"ids={row}" for row in ids[:500]))
    assert len(found.json()["rows"]) == min(len(ids), 500) * 3 // 4
    assert len(queries) == READ_QUERIES


#: With an API key, permissions, the fields, one link field, an upsert and the log.
WRITE_QUERIES, READ_QUERIES = 23, 5


def test_reading_keeps_the_order_asked_for(grid: Grid) -> None:
    ids = grid.create(*({"Count": number} for number in range(5)))
    wanted = [ids[3], ids[0], ids[3], ids[4]]
    rows = grid.send("get", "/rows?" + "&".join(f"ids={row}" for row in wanted)).json()["rows"]
    assert [row["id"] for row in rows] == [ids[3], ids[0], ids[4]]
    assert grid.send("get", "/rows?ids=0").status_code == 422
    seen: list[int] = []
    for _ in range(3):
        page = grid.send("get", f"/rows?limit=2&after={seen[-1] if seen else 0}").json()
        seen += [row["id"] for row in page["rows"]]
    assert seen == ids
    assert page["next"] is None


def test_the_bytes_of_one_answer_are_bounded(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_READ_BYTES", 200_000)
    grid = grids.make(Text="long_text", Raw="json", Count="integer")
    ids = [grid.create({"Text": "x" * 90_000, "Raw": {"a": "y" * 200}})[0] for _ in range(3)]
    refused = grid.send("get", "/rows")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "limit")
    assert len(grid.send("get", "/rows?limit=2").json()["rows"]) == 2
    assert grid.send("get", f"/rows?ids={ids[-1] + 1}&ids={ids[-1] + 2}").json()["rows"] == []
    deletes = [{"op": "delete", "id": row} for row in ids]
    assert grid.batch(*deletes).status_code == 400
    counts = [{"op": "update", "id": row, "values": {"Count": 1}} for row in ids]
    assert grid.batch(*counts).status_code == 200
    monkeypatch.setattr(reading, "MAX_READ_BYTES", 50_000)
    assert grid.send("get", f"/rows/{ids[0]}").status_code == 200


# --- Upserts ------------------------------------------------------------------------------------
def test_upserts_update_what_has_the_key_and_create_the_rest(grid: Grid) -> None:
    [known] = grid.create({"Subject": "known", "Count": 1, "State": 1})
    key = grid.key("Subject")
    answer = grid.batch(
        {"op": "upsert", "values": {"Subject": "known", "Count": 2}},
        {"op": "upsert", "values": {"Subject": "new", "Count": 3}},
        key=key,
    )
    assert [result["status"] for result in answer.json()["results"]] == ["updated", "created"]
    assert grid.row(known) == {"Subject": "known", "Count": 2, "State": 1}
    again = grid.batch({"op": "upsert", "values": {"Subject": "known", "Count": 2}}, key=key)
    [result] = again.json()["results"]
    assert (result["status"], result["id"], result["version"]) == ("unchanged", known, 2)
    assert again.json()["rev"] is None


def test_what_an_upsert_cannot_decide_is_refused(grid: Grid) -> None:
    grid.create({"Subject": "twin"}, {"Subject": "twin"})
    key = grid.key("Subject")

    def refused(*values: dict[str, Any], key: str | None = key) -> tuple[int, str]:
        operations = [{"op": "upsert", "values": given} for given in values]
        answer = grid.batch(*operations, **({} if key is None else {"key": key}))
        return answer.status_code, answer.json()["errors"][0]["field"]

    assert refused({"Subject": "twin"}) == (400, f"operations.0.values.{key}")
    assert refused({"Count": 1}) == (400, f"operations.0.values.{key}")
    assert refused({"Subject": "a"}, {"Subject": "a"}) == (400, f"operations.1.values.{key}")
    assert refused({"Subject": "a"}, key=None) == (400, "key")
    assert refused({"Subject": "a"}, key="f0") == (422, "key")


def test_two_upserts_at_once_make_one_row(grids: Grids) -> None:
    grid = grids.make(Key="text", Count="integer")
    barrier = threading.Barrier(4)

    def upsert(number: int) -> int:
        barrier.wait(10)
        values = {"Key": "same", "Count": number}
        answer = grid.batch({"op": "upsert", "values": values}, key=grid.key("Key"))
        connection.close()
        status: int = answer.status_code
        return status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(upsert, range(4))) == [200] * 4
    assert Table.objects.get(pk=grid.id).row_count == 1


# --- Conflicts ----------------------------------------------------------------------------------
def test_only_the_cell_that_really_changed_is_refused(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a", "Count": 1})
    grid.batch({"op": "update", "id": row, "values": {"Subject": "by Bob"}})
    seen = {"Subject": "a", "Count": 1}
    mine = grid.keyed({"Subject": "mine", "Count": 2})
    refused = grid.send("patch", f"/rows/{row}", {"values": mine, "was": grid.keyed(seen)})
    assert (refused.status_code, refused.json()["code"]) == (409, "cell_conflict")
    assert refused.json()["conflicts"] == [
        {"row": row, "version": 2, "field": grid.key("Subject"), "value": "by Bob"}
    ]
    assert refused.json()["row"]["values"] == grid.keyed(
        {"Subject": "by Bob", "Count": 2, "State": None}
    )
    assert grid.row(row)["Count"] == 2


def test_what_others_have_set_to_the_same_is_no_conflict(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a"})
    grid.batch({"op": "update", "id": row, "values": {"Subject": "b"}})
    body = {"values": grid.keyed({"Subject": "b"}), "was": grid.keyed({"Subject": "a"})}
    answer = grid.send("patch", f"/rows/{row}", body)
    assert (answer.status_code, answer.json()["version"]) == (200, 2)


def test_conflicts_of_batches(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a", "Count": 1})
    update = {
        "op": "update", "id": row,
        "values": {"Subject": "x", "Count": 2}, "was": {"Subject": "z", "Count": 1},
    }  # fmt: skip
    refused = grid.batch(update, {"op": "create", "values": {}})
    assert refused.status_code == 409
    assert refused.json()["conflicts"][0]["value"] == "a"
    assert Table.objects.get(pk=grid.id).row_count == 1
    [result, created] = grid.batch(update, {"op": "create", "values": {}}, atomic=False).json()[
        "results"
    ]
    assert (result["status"], created["status"]) == ("updated", "created")
    assert [conflict["field"] for conflict in result["conflicts"]] == [grid.key("Subject")]
    assert grid.row(row) == {"Subject": "a", "Count": 2, "State": None}


def test_a_version_guards_the_whole_row(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a", "Count": 1})
    grid.batch({"op": "update", "id": row, "values": {"Count": 2}})
    stale = {"op": "update", "id": row, "values": {"Subject": "b"}, "version": 1}
    assert grid.batch(stale).json()["code"] == "cell_conflict"
    assert grid.batch({**stale, "version": 2}).status_code == 200
    kept = grid.batch({"op": "delete", "id": row, "version": 2}, atomic=False).json()["results"][0]
    assert kept["status"] == "conflict"
    assert grid.batch({"op": "delete", "id": row, "version": 3}).status_code == 200


def test_an_etag_guards_a_row_over_rest(grid: Grid) -> None:
    [row] = grid.create({"Subject": "a"})
    path = f"/rows/{row}"
    etag = grid.send("get", path)["ETag"]
    assert grid.send("get", path, If_None_Match=etag).status_code == 304
    body = {"values": grid.keyed({"Subject": "b"})}
    assert grid.send("patch", path, body, If_Match=etag).status_code == 200
    refused = grid.send("patch", path, body, If_Match=etag)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert grid.send("delete", path, If_Match=etag).status_code == 412
    assert grid.send("delete", path, If_Match=grid.send("get", path)["ETag"]).status_code == 204


def test_numbers_seen_by_a_browser_are_compared_as_it_sees_them(grids: Grids) -> None:
    grid = grids.make(Price="number")
    [row] = grid.create({"Price": 0.1})
    column, table = names.column(grid.key("Price")), names.rows_table(grid.id)
    change = "UPDATE {table} SET {column} = 0.1000000000000000055"
    execute(names.statement(change, table=table, column=column))
    seen = grid.row(row)["Price"]
    answer = grid.batch({"op": "update", "id": row, "values": {"Price": 2}, "was": {"Price": seen}})
    assert answer.status_code == 200


def test_writers_of_the_same_rows_in_opposite_order_do_not_deadlock(grids: Grids) -> None:
    grid = grids.make(Count="integer")
    ids = grid.create(*({"Count": 0} for _ in range(50)))
    barrier = threading.Barrier(4)

    def write(number: int) -> list[int]:
        barrier.wait(10)
        order = ids if number % 2 else ids[::-1]
        statuses = []
        for turn in range(3):
            value = number * 10 + turn + 1
            answer = grid.batch(
                *({"op": "update", "id": row, "values": {"Count": value}} for row in order)
            )
            statuses.append(answer.status_code)
        connection.close()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [[200] * 3] * 4
    counts = {grid.row(row)["Count"] for row in (ids[0], ids[-1])}
    assert len(counts) == 1
    revs = list(Change.objects.filter(table_id=grid.id).values_list("rev", flat=True))
    assert sorted(revs) == list(range(1, len(revs) + 1))


# --- Links --------------------------------------------------------------------------------------
def test_links_are_lists_of_rows_that_exist(grids: Grids) -> None:
    people = grids.make("People", Name="text")
    ada, bob = people.create({"Name": "Ada"}, {"Name": "Bob"})
    grid = grids.make(Owner=("link", {"table": people.id}))
    [row] = grid.create({"Owner": [bob, ada, bob]})
    assert grid.row(row) == {"Owner": [bob, ada]}
    refused = grid.batch({"op": "update", "id": row, "values": {"Owner": [ada, 10**9]}})
    assert refused.json()["errors"][0]["field"] == f"operations.0.values.{grid.key('Owner')}"
    people.batch({"op": "delete", "id": bob})
    assert grid.row(row) == {"Owner": [ada]}
    was = {"Owner": [ada]}
    grid.batch({"op": "update", "id": row, "values": {"Owner": []}, "was": was})
    assert grid.row(row) == {"Owner": None}
    people.send("delete", "")
    assert grid.row(row) == {"Owner": None}


def test_a_repeated_request_writes_once(grid: Grid) -> None:
    body = {"operations": [{"op": "create", "values": {}}]}
    answers = [
        grid.send("post", "/rows:batch", body, Idempotency_Key="rows-1").json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert Table.objects.get(pk=grid.id).row_count == 1


def test_changes_are_announced_after_the_commit(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def announced(table_id: int, rev: int, row_ids: Any, field_ids: Any) -> None:
        assert not connection.in_atomic_block
        seen.append((table_id, rev, row_ids, field_ids))

    monkeypatch.setattr("chat.tables.live.changed", announced)
    [row] = grid.create({"Subject": "a"})
    field = grid.fields["Subject"]["id"]
    grid.batch({"op": "update", "id": row, "values": {"Subject": "b"}})
    grid.batch({"op": "update", "id": row, "values": {"Subject": "b"}})
    assert seen == [(grid.id, 1, [row], []), (grid.id, 2, [row], [field])]


def test_a_limit_of_rows_holds_for_writers_at_once(grids: Grids, settings: Settings) -> None:
    settings.TABLE_MAX_ROWS = 10
    grid = grids.make(A="text")
    barrier = threading.Barrier(4)

    def write(_: int) -> int:
        barrier.wait(10)
        status: int = grid.batch(*[{"op": "create", "values": {}}] * 4).status_code
        connection.close()
        return status

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(write, range(4)))
    assert statuses == [200, 200, 409, 409]
    assert len(load_rows(grid.id, [], range(1, 100))) == 8
