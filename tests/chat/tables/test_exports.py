"""Exports: what is in the file, and who may fetch it for how long."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from guardian.shortcuts import assign_perm
from pytest_django import Settings
from python_calamine import CalamineWorkbook

from accounts.models import User
from chat.models import StoredFile
from chat.tables.models import Export, Table
from tests.chat.tables.conftest import Grid, Grids, as_user
from tests.chat.tables.transfers import Imports, fetch, rows_of, work
from tests.conftest import ClientOf

Json = dict[str, Any]
ROWS: list[Json] = [
    {
        "Name": "=1+1",
        "Count": 3,
        "Price": 12.5,
        "OK": True,
        "Day": "2026-01-31",
        "At": "2026-01-31T12:00:00Z",
        "State": "open",
        "Tags": ["a", "b"],
        "Data": {"x": [1, "ü"]},
    },
    {"Name": '名称, "quoted"\nline', "Count": -5, "Price": -0.25, "State": "50 % off"},
    {"Name": "-2+3", "OK": False},
]


@pytest.fixture
def grid(grids: Grids) -> Grid:
    choices = {"choices": [{"name": "open"}, {"name": "50 % off"}]}
    grid = grids.make(
        "Goods / 2026",
        Name="text",
        Count="integer",
        Price="number",
        OK="boolean",
        Day="date",
        At="datetime",
        State=("select", choices),
        Tags=("multi_select", {"choices": [{"name": "a"}, {"name": "b"}]}),
        Data="json",
    )
    grid.create(*ROWS)
    return grid


def start(grid: Grid, status: int = 202, **body: Any) -> Json:
    answer = grid.send("post", "/exports", {"format": "csv", **body})
    assert answer.status_code == status, answer.content
    found: Json = answer.json()
    return found


def exported(grid: Grid, **body: Any) -> bytes:
    job = start(grid, **body)
    work()
    answer = grid.client.get(f"/api/tables/exports/{job['id']}").json()
    assert answer["state"] == "done", answer
    content = fetch(grid.client, f"/api/tables/exports/{job['id']}/file")
    assert answer["bytes"] == len(content)
    return content


def parsed(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_csv_has_every_kind_as_text_and_no_formula(grid: Grid) -> None:
    header, *rows = parsed(exported(grid))
    assert header == ["Name", "Count", "Price", "OK", "Day", "At", "State", "Tags", "Data"]
    assert rows == [
        ["'=1+1", "3", "12.5", "true", "2026-01-31", "2026-01-31T12:00:00Z", "open", "a, b",
         '{"x": [1, "ü"]}'],
        ['名称, "quoted"\nline', "-5", "-0.25", "", "", "", "50 % off", "", ""],
        ["'-2+3", "", "", "false", "", "", "", "", ""],
    ]  # fmt: skip


def test_csv_for_programs_is_as_it_is(grid: Grid) -> None:
    content = exported(grid, spreadsheet=False, bom=True)
    assert content.startswith(b"\xef\xbb\xbf")
    assert [row[0] for row in parsed(content)[1:]] == [row["Name"] for row in ROWS]


@pytest.mark.parametrize("lead", ["\n", "\t", "\r", "＝"])
def test_what_a_spreadsheet_skips_before_a_formula_is_defused(grids: Grids, lead: str) -> None:
    grid = grids.make(Name="long_text")
    grid.create({"Name": f"{lead}=1+1"})
    assert parsed(exported(grid))[1:] == [[f"'{lead}=1+1"]]


def test_headers_are_no_formulas_either(grids: Grids) -> None:
    grid = grids.make("Evil", **{'=HYPERLINK("http://x")': "text"})
    assert parsed(exported(grid)) == [['\'=HYPERLINK("http://x")']]
    assert parsed(exported(grid, spreadsheet=False)) == [['=HYPERLINK("http://x")']]


def test_jsonl_has_values_with_their_types(grid: Grid) -> None:
    lines = [json.loads(line) for line in exported(grid, format="jsonl").splitlines()]
    assert lines[0] == ROWS[0]
    assert lines[2]["Price"] is None


def test_a_workbook_has_numbers_dates_and_no_formula(grid: Grid) -> None:
    content = exported(grid, format="xlsx")
    [sheet] = CalamineWorkbook.from_filelike(io.BytesIO(content)).sheet_names
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    header, first, second, third = book.get_sheet_by_name(sheet).to_python()
    assert header[:3] == ["Name", "Count", "Price"]
    assert first[:4] == ["=1+1", 3.0, 12.5, True]
    assert str(first[4])[:10] == "2026-01-31"
    assert second[0] == '名称, "quoted"\nline'
    assert third[0] == "-2+3"
    assert b"<f>" not in content


def test_a_view_decides_about_rows_order_and_fields(grid: Grid) -> None:
    view = grid.send(
        "post",
        "/views",
        {
            "name": "Cheap",
            "filter": {"field": grid.key("Count"), "op": "not_empty"},
            "sorts": [{"field": grid.key("Count")}],
            "hidden": [grid.key("Data")],
            "order": [grid.key("Count"), grid.key("Name")],
        },
    )
    assert view.status_code == 201, view.content
    rows = parsed(exported(grid, view=view.json()["id"]))
    assert rows[0][:3] == ["Count", "Name", "Price"]
    assert "Data" not in rows[0]
    assert [row[0] for row in rows[1:]] == ["-5", "3"]
    chosen = parsed(exported(grid, view=view.json()["id"], fields=[grid.key("Data")]))
    assert chosen[0] == ["Data"]


def test_without_a_view_filter_and_sorts_are_given(grid: Grid) -> None:
    condition = {"field": grid.key("State"), "op": "is", "value": "50 % off"}
    rows = parsed(exported(grid, filter=condition, fields=[grid.key("Count")]))
    assert rows == [["Count"], ["-5"]]


def test_links_are_written_as_what_stands_for_the_row(
    grids: Grids, bob: User, client_of: ClientOf
) -> None:
    people = grids.make("People", Name="text")
    anna, ben = people.create({"Name": "=Anna"}, {"Name": "Ben"})
    grid = grids.make("Tasks", Title="text", Who=("link", {"table": people.id}))
    grid.create({"Title": "a", "Who": [ben, anna]}, {"Title": "b"})
    assert parsed(exported(grid)) == [["Title", "Who"], ["a", "Ben, =Anna"], ["b", ""]]
    [first, _] = exported(grid, format="jsonl").splitlines()
    assert json.loads(first)["Who"] == ["Ben", "=Anna"]
    # A reader who may not read the linked table is told ids alone.
    assign_perm("tables.view_table", bob, Table.objects.get(pk=grid.id))
    others = as_user(grid, client_of(bob))
    assert parsed(exported(others))[1] == ["a", f"{ben}, {anna}"]


def test_what_is_wrong_is_told_at_once(grid: Grid, grids: Grids) -> None:
    refused = start(grid, status=400, fields=["f999999"])
    assert refused["errors"][0]["field"] == "fields.0"
    refused = start(grid, status=400, filter={"field": "f999999", "op": "empty"})
    assert refused["errors"][0]["field"].startswith("filter")
    start(grid, status=422, format="pdf")
    other = grids.make("Other", A="text")
    view = other.send("post", "/views", {"name": "V"}).json()
    assert start(grid, status=400, view=view["id"])["errors"][0]["field"] == "view"
    assert not Export.objects.exists()


def test_an_export_comes_back_as_an_import(grid: Grid) -> None:
    imports = Imports(grid.client)
    content = exported(grid, spreadsheet=False)
    job = imports.inspected(content, "back.csv")
    kinds = [column["kind"] for column in job["columns"]]
    assert kinds == [
        "long_text", "integer", "number", "boolean", "date", "datetime", "text", "text", "json",
    ]  # fmt: skip
    job = imports.run(job)
    back = rows_of(imports.client, job["table"])
    for was, now in zip(rows_of(imports.client, grid.id), back, strict=True):
        for name in ("Name", "Count", "Price", "OK", "Day", "At", "Data"):
            assert was[name] == now[name]


def test_the_file_is_its_owners_and_expires(
    grid: Grid, bob: User, client_of: ClientOf, settings: Settings
) -> None:
    job = start(grid)
    path = f"/api/tables/exports/{job['id']}"
    assert b"running" in fetch(grid.client, f"{path}/file", status=409)
    work()
    others = client_of(bob)
    assert others.get(path).status_code == 404
    fetch(others, f"{path}/file", status=404)
    assert others.post(f"{path}:cancel", "{}", content_type="application/json").status_code == 404
    StoredFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    fetch(grid.client, f"{path}/file", status=404)


def test_access_that_was_taken_back_ends_an_export(
    grid: Grid, bob: User, client_of: ClientOf
) -> None:
    job = start(grid)
    Export.objects.update(owner=bob)
    work()
    assert (Export.objects.get().state, Export.objects.get().reason) == ("failed", "not_found")
    assert job["state"] == "running"
    assert not StoredFile.objects.exists()


def test_an_export_can_be_cancelled_and_deleted(grid: Grid, settings: Settings) -> None:
    settings.EXPORTS_MAX_PER_USER = 1
    job = start(grid)
    path = f"/api/tables/exports/{job['id']}"
    start(grid, status=429)
    assert grid.client.delete(path).status_code == 409
    cancelled = grid.client.post(f"{path}:cancel", "{}", content_type="application/json")
    assert cancelled.json()["state"] == "cancelled"
    work()
    assert not StoredFile.objects.exists()
    assert grid.client.delete(path).status_code == 204
    content = exported(grid)
    [done] = Export.objects.all()
    assert content
    assert grid.client.delete(f"/api/tables/exports/{done.pk}").status_code == 204
    assert not StoredFile.objects.exists()


def test_a_file_over_its_bound_is_refused(grid: Grid, settings: Settings) -> None:
    settings.EXPORT_MAX_BYTES = 100
    job = start(grid)
    work()
    answer = grid.client.get(f"/api/tables/exports/{job['id']}").json()
    assert (answer["state"], answer["reason"]) == ("failed", "too_large")
    # It was known before the first row was written.
    assert answer["total"] == len(ROWS)
    assert not StoredFile.objects.exists()
