"""Input of odd kinds: refused by the name of its field, or read as it is meant; never a fault."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
import xlsxwriter

from chat.tables.models import Table
from chat.tables.tables import delete_table
from tests.chat.tables.conftest import Grid, Grids
from tests.chat.tables.transfers import Imports, rows_of
from tests.subtests import subtested

pytestmark = pytest.mark.django_db(transaction=True)
Json = dict[str, Any]


@pytest.fixture
def grid(grids: Grids) -> Grid:
    grid = grids.make(
        Name="text",
        Count="integer",
        Price="number",
        Day="date",
        At="datetime",
        Data="json",
        State=("select", {"choices": [{"name": "open"}]}),
    )
    grid.create({"Name": "x", "Count": 1, "At": "2026-01-31T12:00:00Z"})
    return grid


@pytest.fixture
def imports(grids: Grids) -> Imports:
    return Imports(grids.client)


# --- Values -------------------------------------------------------------------------------------
@subtested(
    ("name", "value"),
    [
        ("Price", "1e400"),
        ("Price", "-1e30"),
        ("Price", '"1.234,56"'),
        ("Price", "[1]"),
        ("Count", "1e400"),
        ("Count", "9007199254740992"),
        ("Count", "1.5"),
        ("Count", "true"),
        ("Day", '"2026-02-29"'),
        ("Day", '"31/01/2026"'),
        ("Day", '"10000-01-01"'),
        ("At", '"2026-01-31T12:00:00"'),
        ("At", '"0001-01-01T00:00:00+14:00"'),
        ("At", '"2026-01-31T24:30:00Z"'),
        ("Name", '"a\\u0000b"'),
        ("Name", '"half \\ud800"'),
        ("Name", '{"a": 1}'),
        ("State", '"shut"'),
        ("State", "1.5"),
        ("Data", "NaN"),
        ("Data", "[" * 40 + "]" * 40),
        ("Data", "[" * 200 + "]" * 200),
    ],
)
def test_a_value_that_does_not_fit_names_its_field(grid: Grid, name: str, value: str) -> None:
    body = f'{{"values": {{"{grid.key("Name")}": "new", "{grid.key(name)}": {value}}}}}'
    if name == "Name":
        body = f'{{"values": {{"{grid.key(name)}": {value}}}}}'
    answer = grid.client.post(f"{grid.path}/rows", body, content_type="application/json")
    assert answer.status_code in (400, 422), answer.content
    problem = answer.json()
    named = [error["field"] for error in problem.get("errors", ())] or [problem["detail"]]
    # Nothing is read of a body that is nested too deeply.
    assert any(grid.key(name) in field for field in named) or "nested" in named[0]
    assert Table.objects.get(pk=grid.id).row_count == 1


def test_numbers_of_any_size_are_shown(grid: Grid) -> None:
    """Also such as have more digits than 64 bits hold."""
    values = [10**29, -(10**25), 0.1, 1e-20, 2**53]
    row_ids = grid.create(*({"Price": value} for value in values))
    large = {"Data": {"n": [2**63 - 1, -(2**63), 1.5]}}
    [row_id] = grid.create(large)
    ids = "&".join(f"ids={found}" for found in [*row_ids, row_id])
    *priced, last = grid.send("get", f"/rows?{ids}").json()["rows"]
    assert [row["values"][grid.key("Price")] for row in priced] == values
    assert grid.named(last["values"])["Data"] == large["Data"]


# --- Filters and sorts ----------------------------------------------------------------------------
def _nested(levels: int) -> Json:
    tree: Json = {"and": []}
    for _ in range(levels):
        tree = {"or": [tree]}
    return tree


@subtested(
    ("change", "field"),
    [
        ({"filter": _nested(20)}, "filter"),
        ({"filter": _nested(100)}, "nested"),
        ({"filter": {"and": [{"or": [{}]}] * 60}}, "filter"),
        ({"filter": [1]}, "filter"),
        ({"filter": {"field": "At", "op": "is", "value": {}}}, "filter.value"),
        ({"filter": {"field": "Name", "op": "in", "value": ["x"] * 1_001}}, "filter.value"),
        ({"filter": {"field": "Name", "op": "contains", "value": ""}}, "filter.value"),
        ({"filter": {"field": "Price", "op": "gt", "value": True}}, "filter.value"),
        ({"filter": {"field": "Count", "op": "is", "value": 2**63}}, "filter.value"),
        ({"filter": {"field": "f0", "op": "is", "value": 1}}, "filter.field"),
        ({"filter": {"field": {"a": 1}, "op": "is", "value": 1}}, "filter.field"),
        ({"filter": {"field": "State", "op": "is", "value": [1]}}, "filter.value"),
        ({"filter": {"field": "At", "op": "is_within", "value": "last_9999_days"}}, "filter.value"),
        (
            {"filter": {"field": "At", "op": "is", "value": "2026-01-31", "timezone": "../etc"}},
            "filter.timezone",
        ),
        ({"sorts": [{"field": "f0"}]}, "sorts.0.field"),
        ({"sorts": [{"field": "Data"}]}, "sorts.0.field"),
        ({"sorts": [{"field": "Name"}] * 9}, "sorts"),
        ({"cursor": "x" * 1_000}, "cursor"),
    ],
)
def test_a_query_that_cannot_be_carried_out_names_its_part(
    grid: Grid, change: Json, field: str
) -> None:
    keyed = json.dumps(change)
    for name, made in grid.fields.items():
        keyed = keyed.replace(f'"field": "{name}"', f'"field": "{made["key"]}"')
    for path in ("/rows:query", ":open"):
        if path == ":open" and "cursor" in change:
            continue
        answer = grid.send("post", path, json.loads(keyed))
        assert answer.status_code in (400, 422), answer.content
        problem = answer.json()
        named = [error["field"] for error in problem.get("errors", ())] or [problem["detail"]]
        assert field in named[0]


@subtested("op", ["is", "gt", "lte", "between"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-30", "9999-12-31"])
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
def test_days_at_the_ends_of_time_are_compared(grid: Grid, op: str, day: str, zone: str) -> None:
    """They are some in each zone, though in UTC there may be no such year."""
    value = [day, day] if op == "between" else day
    condition = {"field": grid.key("At"), "op": op, "value": value, "timezone": zone}
    answer = grid.send("post", "/rows:query", {"filter": condition})
    assert answer.status_code in (200, 400), answer.content
    if answer.status_code == 400:
        assert answer.json()["errors"][0]["field"].startswith("filter.value")


def test_a_view_sorted_by_a_deleted_field_is_opened_without_it(grid: Grid) -> None:
    key = grid.key("Count")
    parts = {"sorts": [{"field": key}], "groups": [key], "aggregates": {key: "sum"}}
    view = grid.send("post", "/views", {"name": "By count", **parts}).json()
    grid.client.delete(f"/api/tables/fields/{grid.fields['Count']['id']}")
    path = f"/api/tables/views/{view['id']}:open"
    opened = grid.client.post(path, "{}", content_type="application/json").json()
    assert (opened["count"], opened["ignored"], opened["groups"]) == (1, [key], [])


# --- Linked tables that are gone ------------------------------------------------------------------
@pytest.mark.parametrize("is_dropped", [False, True])
def test_links_to_a_table_that_is_gone_break_nothing(grids: Grids, *, is_dropped: bool) -> None:
    others = grids.make("Others", Name="text")
    other_ids = others.create({"Name": "one"}, {"Name": "two"})
    grid = grids.make("Own", Name="text")
    grid.add_field("Link", "link", table=others.id)
    [row_id] = grid.create({"Name": "x", "Link": other_ids})
    table = Table.objects.get(pk=others.id)
    delete_table(table)
    if is_dropped:
        table.delete()
    key = grid.key("Link")
    assert grid.send("get", f"/rows/{row_id}").status_code == 200
    opened = grid.send("post", ":open", {"sorts": [{"field": key}], "n": 10})
    assert len(opened.json()["items"]) == 1
    # By the text of what is linked there is nothing to find; by ids there is.
    for value, status in (("one", 400), (other_ids[0], 200)):
        condition = {"field": key, "op": "contains", "value": value}
        answer = grid.send("post", "/rows:query", {"filter": condition})
        assert answer.status_code == status, answer.content
    answer = grid.send("patch", f"/rows/{row_id}", {"values": {grid.key("Name"): "y"}})
    assert answer.status_code == 200, answer.content
    if is_dropped:
        answer = grid.send("patch", f"/rows/{row_id}", {"values": {key: other_ids}})
        assert answer.status_code == 400, answer.content
        assert key in answer.json()["errors"][0]["field"]


# --- Files --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        pytest.param("\ufeffName;Count\r\nx;1\r\n", [{"Name": "x", "Count": 1}], id="mark, CRLF"),
        pytest.param('Name,Note\nx,"a ""q"", b\nc"\n', [{"Name": "x", "Note": 'a "q", b\nc'}]),
        pytest.param("a,A,a\n1,2,3\n", [{"a": 1, "A 2": 2, "a 3": 3}], id="equal headers"),
        pytest.param("Name\n=1+1\n@SUM(A1)\n", [{"Name": "=1+1"}, {"Name": "@SUM(A1)"}]),
        pytest.param("D\n01/02/2026\n03/04/2026\n", [{"D": "01/02/2026"}, {"D": "03/04/2026"}]),
        pytest.param("D\n01/02/2026\n13/02/2026\n", [{"D": "2026-02-01"}, {"D": "2026-02-13"}]),
        pytest.param("D\n01/13/2026\n13/01/2026\n", [{"D": "01/13/2026"}, {"D": "13/01/2026"}]),
        pytest.param("N;M\n1.234,56;a\n7,5;b\n", [{"N": 1234.56, "M": "a"}, {"N": 7.5, "M": "b"}]),
        pytest.param("N\n1e400\n", [{"N": "1e400"}], id="no number"),
        pytest.param("P\n007\n13800138000\n", [{"P": "007"}, {"P": "13800138000"}]),
    ],
)
def test_odd_files_are_read_as_they_are_meant(
    imports: Imports, content: str, rows: list[Json]
) -> None:
    job = imports.run(imports.inspected(content))
    assert (job["state"], job["bad_rows"]) == ("done", 0), job
    assert rows_of(imports.client, job["table"]) == rows


@pytest.mark.parametrize(
    ("content", "file_name", "reason"),
    [
        (",".join(f"c{n}" for n in range(10_000)) + "\n1\n", "wide.csv", "too_many_columns"),
        (json.dumps({f"c{n}": n for n in range(10_000)}) + "\n", "wide.jsonl", "too_many_columns"),
        ('{"a": [' * 200 + "]}" * 200 + "\n", "deep.jsonl", "empty_file"),
        ("Name\n", "empty.csv", "empty_file"),
        (",\n,\n", "blank.csv", "empty_file"),
    ],
)
def test_files_that_cannot_be_read_say_why(
    imports: Imports, content: str, file_name: str, reason: str
) -> None:
    job = imports.inspected(content, file_name)
    assert (job["state"], job["reason"]) == ("failed", reason), job
    assert job["message"]


def _workbook(fill: Callable[[Any, Any], None]) -> bytes:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        fill(book, book.add_worksheet("Sheet"))
    return buffer.getvalue()


def _fill(book: Any, sheet: Any) -> None:
    sheet.write_row(0, 0, ["Sum", "Day", "At", "Merged", "Error"])
    sheet.write_formula(1, 0, "=1+1", None, 2)
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
    sheet.write_datetime(1, 1, datetime(2028, 2, 29), day)  # noqa: DTZ001 - workbooks have no zones
    sheet.write_datetime(1, 2, datetime(2026, 1, 31, 12, 30), moment)  # noqa: DTZ001
    sheet.merge_range(1, 3, 2, 3, "both")
    sheet.write_formula(1, 4, "=1/0", None, "#DIV/0!")
    sheet.write_row(2, 0, [3])


def test_a_workbook_gives_values_dates_and_merged_cells(imports: Imports) -> None:
    """A formula is read as its last value, and merged cells have the value of the first cell."""
    job = imports.run(imports.inspected(_workbook(_fill), "book.xlsx"))
    assert job["state"] == "done", job
    first, second = rows_of(imports.client, job["table"])
    assert (first["Sum"], second["Sum"]) == (2, 3)
    assert first["Day"] == date(2028, 2, 29).isoformat()
    at = datetime(2026, 1, 31, 12, 30, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert first["At"] == at
    assert (first["Merged"], second["Merged"]) == ("both", None)
