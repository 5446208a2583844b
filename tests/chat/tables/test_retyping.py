"""A field that changes its kind: converted in batches, beside writers, with a report."""

from __future__ import annotations

from typing import Any

import pytest

from aily.database.rows import fetch_column
from chat.tables import retyping
from chat.tables.actors import convert_fields
from chat.tables.models import Field
from tests.chat.tables.conftest import Grid, Grids
from tests.subtests import subtested

JSON = "application/json"


def retype(grid: Grid, field_name: str, kind: str, /, **more: Any) -> Any:
    path = f"/api/tables/fields/{grid.fields[field_name]['id']}"
    return grid.client.patch(path, {"kind": kind, **more}, content_type=JSON)


_CASES: list[tuple[Any, str, list[Any], list[Any]]] = [
    ("text", "integer", ["1", " 2 ", "x", "1.0", "1e3", ""], [1, 2, None, 1, 1000, None]),
    ("text", "number", ["1.50", "-2", "1_0", "nan", "1e999"], [1.5, -2, None, None, None]),
    ("text", "boolean", ["true", "No", "是", "2"], [True, False, True, None]),
    ("text", "date", ["2026-01-31", "2026-01-31T23:00:00Z", "soon"], ["2026-01-31"] * 2 + [None]),
    ("text", "datetime", ["2026-01-31", "2026-01-31T01:00:00+08:00", "x"],
     ["2026-01-31T00:00:00Z", "2026-01-30T17:00:00Z", None]),
    ("text", "url", ["https://example.com", "example"], ["https://example.com", None]),
    ("text", "json", ['{"a": 1}', "{", "NaN"], [{"a": 1}, None, None]),
    ("text", "select", ["b", "a", "b", ""], [2, 1, 2, None]),
    ("text", "multi_select", ["b, a", "a"], [[2, 1], [1]]),
    ("integer", "text", [5, None], ["5", None]),
    ("number", "integer", [5, 5.5], [5, None]),
    ("number", "text", [0.25], ["0.25"]),
    ("boolean", "text", [True, False], ["true", "false"]),
    ("datetime", "date", ["2026-01-31T23:00:00Z"], ["2026-01-31"]),
    ("json", "text", [{"a": "é"}, "x"], ['{"a": "é"}', '"x"']),
    (("select", {"choices": ["High", "Low"]}), "text", [1, 2], ["High", "Low"]),
    (("select", {"choices": ["High", "Low"]}), "multi_select", [2, None], [[2], None]),
    (("multi_select", {"choices": ["x", "y"]}), "text", [[2, 1]], ["y, x"]),
]  # fmt: skip


@subtested(("kind", "new", "values", "converted"), _CASES)
def test_cells_are_converted_or_reported(
    grids: Grids, kind: Any, new: str, values: list[Any], converted: list[Any]
) -> None:
    grid = grids.make(Value=kind)
    ids = grid.create(*({"Value": value} for value in values))
    field = retype(grid, "Value", new).json()
    assert field["kind"] == new
    report = field["retype"]
    assert report["state"] == "done"
    assert [grid.row(row)["Value"] for row in ids] == converted
    unfit = [
        row
        for row, value, cell in zip(ids, values, converted, strict=True)
        if cell is None and value not in (None, "")
    ]
    assert [example["row"] for example in report["examples"]] == unfit
    assert (report["done"], report["unfit"]) == (len(ids), len(unfit))


def test_a_text_becomes_a_longer_one_at_once(grids: Grids) -> None:
    grid = grids.make(Value="url")
    [row] = grid.create({"Value": "https://example.com"})
    refused = retype(grid, "Value", "text", options={"unit": "kg"})
    assert refused.json()["errors"][0]["field"] == "options.unit"
    assert retype(grid, "Value", "text").json()["retype"]["old_field"] is None
    assert retype(grid, "Value", "long_text").json()["kind"] == "long_text"
    assert grid.row(row) == {"Value": "https://example.com"}
    assert grid.send("get", "/fields?is_deleted=true").json() == []


def test_the_old_cells_can_be_restored_as_a_field(grids: Grids) -> None:
    grid = grids.make(Value="text")
    [row] = grid.create({"Value": "many"})
    report = retype(grid, "Value", "integer", name="Count").json()["retype"]
    assert report["examples"][0]["value"] == "many"
    restored = grid.client.post(f"/api/tables/fields/{report['old_field']}:restore").json()
    assert (restored["name"], restored["kind"]) == ("Value (2)", "text")
    assert grid.send("get", f"/rows/{row}").json()["values"][restored["key"]] == "many"


def test_writers_go_on_while_rows_are_converted(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retyping, "REQUEST_SECONDS", -1)
    monkeypatch.setattr(retyping, "BATCH_ROWS", 2)
    grid = grids.make(Value="text", Other="text")
    ids = grid.create(*({"Value": str(number)} for number in range(6)))
    field = retype(grid, "Value", "integer").json()
    assert (field["kind"], field["retype"]["state"], field["retype"]["done"]) == (
        "text",
        "running",
        2,
    )
    refused = retype(grid, "Value", "number")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    # One row that has been converted, one that has not, and a new one.
    grid.batch(
        {"op": "update", "id": ids[0], "values": {"Value": "70"}, "was": {"Value": "0"}},
        {"op": "update", "id": ids[5], "values": {"Value": "75"}},
        {"op": "update", "id": ids[4], "values": {"Other": "x"}},
        {"op": "create", "values": {"Value": "80"}},
    )
    assert [retyping.convert_batch(field["id"]) for _ in range(4)] == [True, True, True, False]
    [new] = grid.create({"Value": "none"})
    convert_fields()
    found = Field.objects.get(pk=field["id"])
    assert (found.kind, found.is_retyping) == ("integer", False)
    assert [grid.row(row)["Value"] for row in ids] == [70, 1, 2, 3, 4, 75]
    assert grid.row(ids[5] + 1)["Value"] == 80
    assert grid.row(new)["Value"] is None


def test_what_cannot_change_its_kind_is_refused(grids: Grids) -> None:
    grid = grids.make(Value="text")
    link = grid.add_field("Link", "link", table=grid.id)
    for name, kind in (("Value", "link"), ("Link", "text")):
        refused = retype(grid, name, kind)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "kind")
    assert Field.objects.get(pk=link["id"]).kind == "link"
    assert retype(grid, "Value", "select", options={"choices": [1]}).status_code == 400
    assert fetch_column(int, "SELECT count(*) FROM information_schema.columns "
                             "WHERE table_schema = 'tables' AND table_name = %s",
                        [f"t{grid.id}"]) == [5]  # fmt: skip
