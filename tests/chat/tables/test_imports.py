"""Imports: what a file is taken for, what becomes of its rows, and of those that do not fit."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zipfile
from datetime import timedelta
from typing import Any

import pytest
import xlsxwriter
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from chat.models import Delivery, StoredFile, WebhookEndpoint
from chat.models.files import FileWriter
from chat.openai.files.store import purge_expired
from chat.tables.checking import differences
from chat.tables.files.workbooks import children
from chat.tables.models import Change, Field, Import, Table
from chat.tables.transfers import retention
from tests.chat.tables.conftest import Grid, Grids
from tests.chat.tables.transfers import Imports, rows_of, work
from tests.conftest import ClientOf

CSV = "SKU,Name,Price,In stock\nA-1,Chair,12.50,true\nA-2,桌子,1200,false\n"


@pytest.fixture
def imports(alice: User, client_of: ClientOf) -> Imports:
    return Imports(client_of(alice))


@pytest.fixture
def products(grids: Grids) -> Grid:
    grid = grids.make("Products", SKU="text", Name="text", Price="number", Note="text")
    grid.create(
        {"SKU": "A-1", "Name": "Old chair", "Price": 10, "Note": "by hand"},
        {"SKU": "A-9", "Name": "Lamp", "Price": 30, "Note": "kept"},
    )
    return grid


def side_tables(job: dict[str, Any]) -> list[str]:
    """The tables that an import has in PostgreSQL beside those of rows."""
    names = [f"{letter}{job['id'].replace('-', '')}" for letter in "iu"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname::text FROM pg_class WHERE relname = ANY(%s)", [names])
        return [name for (name,) in cursor.fetchall()]


# --- A new table ----------------------------------------------------------------------------------
def test_a_file_becomes_a_table_with_typed_fields(imports: Imports) -> None:
    job = imports.upload(CSV, "products.csv")
    assert (job["state"], job["table"], job["new_table"]) == ("inspecting", None, "products")
    work()
    job = imports.get(job)
    assert (job["state"], job["total"]) == ("ready", 2)
    assert [(column["name"], column["kind"]) for column in job["columns"]] == [
        ("SKU", "text"), ("Name", "text"), ("Price", "number"), ("In stock", "boolean"),
    ]  # fmt: skip
    assert job["preview"] == [["A-1", "Chair", "12.50", "true"], ["A-2", "桌子", "1200", "false"]]
    job = imports.run(job)
    assert (job["state"], job["created_rows"], job["bad_rows"]) == ("done", 2, 0)
    assert rows_of(imports.client, job["table"]) == [
        {"SKU": "A-1", "Name": "Chair", "Price": 12.5, "In stock": True},
        {"SKU": "A-2", "Name": "桌子", "Price": 1200, "In stock": False},
    ]
    table = Table.objects.get(pk=job["table"])
    assert (table.name, table.row_count) == ("products", 2)
    assert side_tables(job) == []
    # The file goes with the next purge, and is not seen as one of /v1/files meanwhile.
    assert purge_expired() == 1
    assert not StoredFile.objects.exists()


def test_chinese_files_of_each_encoding_are_read(imports: Imports) -> None:
    text = "名称,价格\n桌子,12\n椅子,34\n"
    for encoding in ("utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-be"):
        content = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding)
        job = imports.run(imports.inspected(content, "价格.csv"))
        assert job["new_table"] == "价格", encoding
        assert rows_of(imports.client, job["table"]) == [
            {"名称": "桌子", "价格": 12},
            {"名称": "椅子", "价格": 34},
        ]


def test_an_encoding_that_is_not_recognised_is_asked_for(imports: Imports) -> None:
    job = imports.inspected("name,city\nRené,Orléans\nZoé,Nîmes\n".encode("cp1252"))
    assert (job["state"], job["reason"]) == ("failed", "unknown_encoding")
    assert imports.act(job, "start", status=409)["code"] == "conflict"
    job = imports.patch(job, dialect={"encoding": "cp1252"})
    assert (job["state"], job["preview"][0]) == ("ready", ["René", "Orléans"])
    # A wrong one is told, and can be changed again.
    job = imports.patch(job, dialect={"encoding": "utf-8"})
    assert (job["state"], job["reason"]) == ("failed", "invalid_encoding")
    assert imports.patch(job, dialect={"encoding": "cp1252"})["state"] == "ready"


def test_headers_are_made_unique_and_never_empty(imports: Imports) -> None:
    job = imports.inspected("名称,名称,,🙂,🙂,Name,name\n1,2,3,4,5,6,7\n", "x.csv")
    names = [column["name"] for column in job["columns"]]
    assert names == ["名称", "名称 2", "Column 3", "🙂", "🙂 2", "Name", "name 2"]
    job = imports.run(job)
    assert list(rows_of(imports.client, job["table"])[0]) == names


def test_the_dialect_can_be_chosen(imports: Imports) -> None:
    text = "1;'a;b';1.234,5;03.02.2026\n2;c;7;04.02.2026\n"
    job = imports.inspected(text, "numbers.csv")
    assert job["dialect"]["has_header"] is False
    job = imports.patch(
        job, dialect={"quote": "'", "decimal_comma": True, "date_order": "dmy", "delimiter": ";"}
    )
    kinds = [column["kind"] for column in job["columns"]]
    assert kinds == ["integer", "text", "number", "date"]
    # The mapping follows, until it is changed.
    assert [entry["new"]["kind"] for entry in job["mapping"]] == kinds
    mapping = [
        {"new": {"name": name, "kind": kind}}
        for name, kind in zip("abcd", ["text", "text", "number", "date"], strict=True)
    ]
    job = imports.patch(job, mapping=mapping)
    assert imports.patch(job, dialect={"has_header": False})["mapping"] == mapping
    job = imports.run(job)
    assert rows_of(imports.client, job["table"]) == [
        {"a": "1", "b": "a;b", "c": 1234.5, "d": "2026-02-03"},
        {"a": "2", "b": "c", "c": 7, "d": "2026-02-04"},
    ]


def test_choices_of_a_select_are_made_of_the_file(imports: Imports) -> None:
    job = imports.inspected("state,tags\nopen,a; b\nclosed,b\n open ,\n")
    mapping = [
        {"new": {"name": "State", "kind": "select"}},
        {"new": {"name": "Tags", "kind": "multi_select"}},
    ]
    job = imports.run(imports.patch(job, mapping=mapping))
    assert (job["state"], job["bad_rows"]) == ("done", 0)
    state, tags = Field.objects.filter(table=job["table"]).order_by("position")
    assert [choice["name"] for choice in state.options["choices"]] == ["open", "closed"]
    assert state.options["next_id"] == 3
    assert [choice["name"] for choice in tags.options["choices"]] == ["a", "b"]
    assert rows_of(imports.client, job["table"]) == [
        {"State": 1, "Tags": [1, 2]},
        {"State": 2, "Tags": [2]},
        {"State": 1, "Tags": None},
    ]


# --- Formats --------------------------------------------------------------------------------------
def test_jsonl_keeps_its_values(imports: Imports) -> None:
    lines = [
        {"id": 1, "name": "a", "price": 1.5, "ok": True, "tags": ["x"]},
        {"id": 2, "name": "b", "more": "late column"},
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    job = imports.run(imports.inspected(gzip.compress(content.encode()), "rows.jsonl.gz"))
    assert (job["state"], job["created_rows"]) == ("done", 2)
    kinds = {column["name"]: column["kind"] for column in job["columns"]}
    assert kinds == {
        "id": "integer", "name": "text", "price": "number", "ok": "boolean", "tags": "json",
        "more": "text",
    }  # fmt: skip
    first, second = rows_of(imports.client, job["table"])
    assert first["tags"] == ["x"]
    assert (second["price"], second["more"]) == (None, "late column")


def test_a_json_array_is_told_apart(imports: Imports) -> None:
    job = imports.inspected('[{"a": 1},\n {"a": 2}]', "rows.json")
    assert (job["state"], job["reason"]) == ("failed", "json_array")


def workbook(*sheets: tuple[str, list[list[Any]]]) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"strings_to_formulas": False}) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets:
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for at, cell in enumerate(row):
                    if hasattr(cell, "year"):
                        sheet.write_datetime(number, at, cell, day)
                    else:
                        sheet.write(number, at, cell)
    return file.getvalue()


def test_without_an_ending_the_first_bytes_tell_the_format(imports: Imports) -> None:
    for content, form in ((b"a,b\n1,2\n", "csv"), (b'{"a": 1}\n', "jsonl")):
        assert imports.upload(content, "")["format"] == form
    job = imports.upload(workbook(("S", [["a"], ["x"]])), "export")
    assert job["format"] == "xlsx"


def test_a_sheet_of_a_workbook_becomes_a_table(imports: Imports) -> None:
    day = timezone.now().replace(2026, 1, 31, 0, 0, 0, 0, None)
    content = workbook(
        ("First", [["only", "this"], ["x", "y"]]),
        ("价格", [["名称", "Code", "Price", "Day", "OK"], ["桌子", "007", 12.5, day, True]]),
    )
    job = imports.inspected(content, "book.xlsx")
    assert (job["state"], job["sheets"]) == ("ready", ["First", "价格"])
    assert job["preview"] == [["x", "y"]]
    job = imports.patch(job, dialect={"sheet": "价格"})
    job = imports.run(job)
    assert rows_of(imports.client, job["table"]) == [
        {"名称": "桌子", "Code": "007", "Price": 12.5, "Day": "2026-01-31", "OK": True}
    ]


def test_bombs_and_what_is_no_workbook_are_refused(
    imports: Imports, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MAX_UNPACKED_BYTES", 1_000_000)
    settings.IMPORT_MAX_BYTES = 1_000_000
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 1_000_001)
    job = imports.inspected(bomb.getvalue(), "bomb.xlsx")
    assert (job["state"], job["reason"]) == ("failed", "invalid_workbook")
    assert "1000000 bytes" in job["message"]
    job = imports.inspected(b"PK\x03\x04 and then nothing", "broken.xlsx")
    assert (job["state"], job["reason"]) == ("failed", "invalid_workbook")
    refused = imports.upload(b"a,b\n", "no.xlsx", status=400)
    assert refused["errors"][0]["field"] == "body"
    # A workbook under another name, and a packed bomb.
    assert imports.upload(bomb.getvalue(), "book.csv", status=400)["errors"][0]["field"] == "body"
    packed = gzip.compress(b"a,b\n" + b"0" * 1_000_000)
    assert imports.upload(packed, "rows.csv.gz", status=413)["code"] == "too_large"
    assert not StoredFile.objects.exclude(purpose="table_import").exists()


# --- Into a table that is there -------------------------------------------------------------------
def test_columns_go_to_the_fields_of_their_names_and_others_stay(
    imports: Imports, products: Grid
) -> None:
    job = imports.inspected("sku,PRICE,Colour\nA-1,12,red\nB-7,8,blue\n", table=products)
    assert job["mapping"] == [
        {"field": products.key("SKU")},
        {"field": products.key("Price")},
        None,
    ]
    mapping = [*job["mapping"][:2], {"new": {"name": "Colour", "kind": "select"}}]
    job = imports.patch(job, mapping=mapping, mode="upsert", key_field=products.key("SKU"))
    job = imports.run(job)
    assert (job["created_rows"], job["updated_rows"], job["bad_rows"]) == (1, 1, 0)
    assert rows_of(imports.client, products.id) == [
        {"SKU": "A-1", "Name": "Old chair", "Price": 12, "Note": "by hand", "Colour": 1},
        {"SKU": "A-9", "Name": "Lamp", "Price": 30, "Note": "kept", "Colour": None},
        {"SKU": "B-7", "Name": None, "Price": 8, "Note": None, "Colour": 2},
    ]


def test_append_adds_every_row_and_skip_only_unknown_ones(imports: Imports, products: Grid) -> None:
    content = "SKU,Price\nA-1,1\nNEW,2\nNEW,3\n"
    skipped = imports.inspected(content, table=products)
    skipped = imports.patch(skipped, mode="skip", key_field=products.key("SKU"))
    skipped = imports.run(skipped)
    assert (skipped["created_rows"], skipped["skipped_rows"]) == (1, 2)
    prices = [(row["SKU"], row["Price"]) for row in rows_of(imports.client, products.id)]
    assert prices == [("A-1", 10), ("A-9", 30), ("NEW", 2)]
    job = imports.run(imports.inspected(content, table=products))
    assert job["created_rows"] == 3
    assert Table.objects.get(pk=products.id).row_count == 6


def test_of_rows_with_one_key_the_last_one_counts(imports: Imports, products: Grid) -> None:
    content = "SKU,Price\nA-1,1\nA-1,2\nX,3\nX,4\n"
    job = imports.inspected(content, table=products)
    job = imports.run(imports.patch(job, mode="upsert", key_field=products.key("SKU")))
    prices = [(row["SKU"], row["Price"]) for row in rows_of(imports.client, products.id)]
    assert prices == [("A-1", 2), ("A-9", 30), ("X", 4)]
    assert job["created_rows"] == 1


def test_upsert_leaves_rows_alone_that_are_the_same(imports: Imports, products: Grid) -> None:
    job = imports.inspected("SKU,Price\nA-1,10\nA-9,30\n", table=products)
    job = imports.run(imports.patch(job, mode="upsert", key_field=products.key("SKU")))
    assert (job["created_rows"], job["updated_rows"]) == (0, 0)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT sum(version) FROM tables.t{products.id}")  # noqa: S608
        assert cursor.fetchone() == (2,)


def test_the_same_file_twice_is_told(imports: Imports, products: Grid) -> None:
    first = imports.upload("SKU\nB-1\n", table=products)
    assert first["duplicate_of"] is None
    work()
    imports.run(imports.get(first))
    second = imports.upload("SKU\nB-1\n", table=products)
    assert second["duplicate_of"] == first["id"]


def test_a_request_repeated_under_its_key_gives_the_same_import(imports: Imports) -> None:
    first = imports.upload(CSV, key="once")
    assert imports.upload(CSV, key="once", status=200)["id"] == first["id"]
    assert imports.upload("other\n1\n", key="once", status=422)["code"] == "idempotency_mismatch"
    assert Import.objects.count() == 1
    assert StoredFile.objects.count() == 1


# --- What does not fit ----------------------------------------------------------------------------
def test_bad_rows_are_reported_and_the_others_imported(imports: Imports, products: Grid) -> None:
    lines = [f"S-{number},{number}" for number in range(30)]
    lines[3] = "S-3,n/a"
    lines[9] = "S-9"
    lines[12] = '=cmd|"x",=1+1'
    job = imports.run(imports.inspected("SKU,Price\n" + "\n".join(lines), table=products))
    assert (job["state"], job["created_rows"], job["bad_rows"]) == ("done", 27, 3)
    assert (job["has_report"], job["total"]) == (True, 30)
    header, *report = imports.report(job)
    assert header == ["line", "field", "value", "reason"]
    assert report[0] == ["5", "Price", "n/a", "This is no number."]
    assert report[1] == ["11", "", "", "This has 1 values, and the file 2 columns."]
    # A report is opened in a spreadsheet.
    assert report[2][:3] == ["14", "Price", "'=1+1"]


_READ: dict[str, list[list[str]]] = {
    "en": [
        ["line", "field", "value", "reason"],
        ["3", "Price", "n/a", "This is no number."],
        ["4", "", "", "This has 1 values, and the file 2 columns."],
        ["5", "Name", "x" * 200, "This may have 100000 bytes at most."],
        ["6", "", "", "This has more than 1048576 bytes."],
    ],
    "zh-hans": [
        ["行", "字段", "值", "原因"],
        ["3", "Price", "n/a", "这不是数字。"],
        ["4", "", "", "此行有 1 个值，文件有 2 列。"],
        ["5", "Name", "x" * 200, "最多 100000 字节。"],
        ["6", "", "", "该行超过 1048576 字节。"],
    ],
}


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("fr", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-hans"),
        ("en-GB,zh;q=0.5", "en"),
    ],
)
def test_a_report_is_in_the_language_that_its_reader_asks_for(
    imports: Imports, grids: Grids, asked: str, language: str
) -> None:
    table = grids.make("Products", Name="text", Price="number")
    bad = f"A,n/a\nB\n{'x' * 100_001},1\n{'y' * 1_100_000},1\n"
    job = imports.inspected(f"Name,Price\nGood,1\n{bad}", table=table)
    job = imports.run(imports.patch(job, max_bad_percent=90))
    assert (job["state"], job["bad_rows"]) == ("done", 4)
    assert imports.report(job, asked) == _READ[language]


def test_a_report_of_an_earlier_version_is_sent_as_it_is(
    imports: Imports, alice: User, products: Grid
) -> None:
    job = imports.inspected("SKU,Price\nA,1\n", table=products)
    stored = FileWriter(alice.pk, f"{job['id']}.csv")
    stored.write("\ufeffline,field,value,reason\r\n2,Price,x,This is no number.\r\n".encode())
    stored.flush()
    file = stored.publish("table_report", None)
    Import.objects.filter(pk=job["id"]).update(report_file=file)
    expected = [["line", "field", "value", "reason"], ["2", "Price", "x", "This is no number."]]
    assert imports.report(job, "zh-Hans") == expected


def test_an_import_with_too_many_bad_rows_leaves_nothing(imports: Imports, products: Grid) -> None:
    before = rows_of(imports.client, products.id)
    content = "SKU,Price,Size\n" + "".join(
        f"S-{n},{'x' if n % 5 == 0 else n},1\n" for n in range(50)
    )
    job = imports.inspected(content, table=products)
    mapping = [*job["mapping"][:2], {"new": {"name": "Size", "kind": "integer"}}]
    job = imports.run(imports.patch(job, mapping=mapping))
    assert (job["state"], job["reason"], job["bad_rows"]) == ("failed", "bad_rows", 10)
    assert job["params"] == {"rule": "bad_rows", "count": "10"}
    assert len(imports.report(job)) == 11
    assert rows_of(imports.client, products.id) == before
    assert not Field.objects.filter(name="Size").exists()
    assert side_tables(job) == []
    # Its owner sees why, and goes on with it.
    mapping[1] = None
    job = imports.run(imports.patch(job, mapping=mapping))
    assert (job["state"], job["created_rows"], job["params"]) == ("done", 50, None)


def test_all_or_nothing_on_wish(imports: Imports) -> None:
    content = "n\n" + "".join(f"{n}\n" for n in range(99)) + "x\n"
    job = imports.inspected(content)
    mapping = [{"new": {"name": "n", "kind": "integer"}}]
    job = imports.run(imports.patch(job, mapping=mapping, max_bad_percent=0))
    assert (job["state"], job["bad_rows"], job["table"]) == ("failed", 1, None)
    assert not Table.objects.exists()
    job = imports.run(imports.patch(job, max_bad_percent=1))
    assert (job["state"], job["created_rows"]) == ("done", 99)


def test_large_cells_zeros_and_broken_quotes_are_bad_rows(imports: Imports) -> None:
    good = "".join(f"{n},fine\n" for n in range(60))
    content = (
        "id,text\n" + good + f"61,{'x' * 10_000_000}\n" + f"62,{'y' * 100_001}\n" + "63,a\0b\n"
        + '64,"broken"quote\n' + "65,last\n"
    )  # fmt: skip
    job = imports.run(imports.inspected(content))
    assert (job["state"], job["created_rows"], job["bad_rows"]) == ("done", 61, 4)
    reasons = [line[3] for line in imports.report(job)[1:]]
    assert "1048576 bytes" in reasons[0]
    assert "100000 bytes" in reasons[1]
    assert "U+0000" in reasons[2]
    assert "CSV" in reasons[3]


@pytest.mark.parametrize("form", ["csv", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_of_long_rows_a_few_are_in_memory_at_a_time(imports: Imports, form: str) -> None:
    """40 MB, of which not even the sample that kinds are guessed from is all in memory."""
    texts = ("x" * 99_000 for _ in range(400))
    lines = (f"{text}\n" if form == "csv" else f'{{"text": "{text}"}}\n' for text in texts)
    job = imports.upload("".join(["text\n" if form == "csv" else "", *lines]), f"long.{form}")
    tracemalloc.start()
    work()
    assert imports.get(job)["columns"][0]["kind"] == "long_text"
    imports.act(job, "start")
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert imports.get(job)["created_rows"] == 400
    assert peak < 20_000_000


def test_what_the_table_cannot_take_changes_nothing(
    imports: Imports, products: Grid, settings: Settings
) -> None:
    settings.TABLE_MAX_ROWS = 3
    job = imports.run(imports.inspected("SKU\nx\ny\n", table=products))
    assert (job["state"], job["reason"]) == ("failed", "table_full")
    assert Table.objects.get(pk=products.id).row_count == 2
    assert len(rows_of(imports.client, products.id)) == 2


def test_wrong_choices_name_the_field_and_change_nothing(imports: Imports, products: Grid) -> None:
    job = imports.inspected("SKU,Price\nx,1\n", table=products)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("mapping", {"mapping": [None]}),
        ("mapping.0.field", {"mapping": [{"field": "f999999"}, None]}),
        ("mapping.0.new.kind", {"mapping": [{"new": {"name": "x", "kind": "link"}}, None]}),
        ("mapping.0.new.name", {"mapping": [{"new": {"name": " ", "kind": "text"}}, None]}),
        ("mapping.1", {"mapping": [job["mapping"][0], job["mapping"][0]]}),
        ("mapping.0", {"mapping": [{"other": 1}, None]}),
        ("key_field", {"key_field": "f999999"}),
        ("key_field", {"key_field": "x"}),
        ("dialect.sheet", {"dialect": {"sheet": "A"}}),
        ("new_table", {"new_table": "Other"}),
    ]
    for field, changes in wrong:
        refused = imports.patch(job, status=400, **changes)
        assert refused["errors"][0]["field"] == field
    assert imports.get(job)["mapping"] == job["mapping"]


def test_a_start_without_what_it_needs_is_refused(imports: Imports, products: Grid) -> None:
    job = imports.inspected("SKU,Price\nx,1\n", table=products)
    job = imports.patch(job, mode="upsert")
    assert imports.act(job, "start", status=400)["errors"][0]["field"] == "key_field"
    job = imports.patch(job, mode="append", mapping=[None, None])
    assert imports.act(job, "start", status=400)["errors"][0]["field"] == "mapping"
    # A field that was deleted since.
    job = imports.patch(job, mapping=[{"field": products.key("SKU")}, None])
    gone = products.fields["SKU"]["id"]
    assert imports.client.delete(f"/api/tables/fields/{gone}").status_code == 204
    assert imports.act(job, "start", status=400)["errors"][0]["field"] == "mapping.0.field"


def test_files_that_are_none_are_refused(imports: Imports) -> None:
    for content, name, field in (
        (b"", "rows.csv", "body"),
        (b"%PDF-1.7", "rows.pdf", "body"),
        (b"\x1f\x8bbroken", "rows.csv.gz", "body"),
    ):
        refused = imports.upload(content, name, status=400)
        assert refused["errors"][0]["field"] == field
    assert not StoredFile.objects.exists()
    assert not Import.objects.exists()


def test_too_large_files_and_too_many_are_refused(imports: Imports, settings: Settings) -> None:
    settings.IMPORT_MAX_BYTES = 1_000
    assert imports.upload(b"a\n" * 600, status=413)["code"] == "too_large"
    settings.IMPORTS_MAX_PER_USER = 1
    imports.upload(b"a\n1\n")
    assert imports.upload(b"b\n1\n", status=429)["limit"]["name"] == "imports_max_per_user"


# --- Others ---------------------------------------------------------------------------------------
def test_others_see_nothing_of_it(
    imports: Imports, products: Grid, bob: User, client_of: ClientOf
) -> None:
    job = imports.inspected("SKU\nx\n", table=products)
    others = Imports(client_of(bob))
    others.get(job, status=404)
    others.act(job, "start", status=404)
    others.upload("SKU\nx\n", table=products, status=404)
    assert others.client.get("/api/tables/imports").json()["count"] == 0
    assert imports.client.get("/api/tables/imports").json()["count"] == 1


def test_access_that_was_taken_back_ends_an_import(
    imports: Imports, products: Grid, bob: User
) -> None:
    job = imports.inspected("SKU\nx\n", table=products)
    imports.act(job, "start")
    Import.objects.update(owner=bob)
    work()
    assert (Import.objects.get().state, Import.objects.get().reason) == ("failed", "not_found")
    assert Table.objects.get(pk=products.id).row_count == 2


def test_what_undoes_an_import_is_known_to_check_tables(imports: Imports, products: Grid) -> None:
    job = imports.run(imports.inspected("SKU\nx\n", table=products))
    [name] = side_tables(job)
    assert name not in {difference.table for difference in differences()}


def test_fields_stay_while_an_import_runs(imports: Imports, products: Grid) -> None:
    job = imports.inspected("SKU\nx\n", table=products)
    imports.act(job, "start")
    path = f"/api/tables/fields/{products.fields['SKU']['id']}"
    answer = imports.client.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "table_busy")
    # Rows do not wait for it.
    products.create({"SKU": "meanwhile"})
    work()
    assert imports.get(job)["state"] == "done"
    assert imports.client.delete(path).status_code == 204


def test_a_cancelled_import_leaves_nothing(imports: Imports, products: Grid) -> None:
    job = imports.inspected("SKU,Size\nx,1\n", table=products)
    mapping = [job["mapping"][0], {"new": {"name": "Size", "kind": "integer"}}]
    job = imports.patch(job, mapping=mapping)
    imports.act(job, "start")
    assert Field.objects.filter(name="Size").exists()
    assert imports.act(job, "cancel")["state"] == "cancelled"
    work()
    assert imports.get(job)["state"] == "cancelled"
    assert not Field.objects.filter(name="Size").exists()
    assert Table.objects.get(pk=products.id).row_count == 2
    # Harmless on one that has ended; a table that was to be made is gone.
    imports.act(job, "cancel")
    job = imports.inspected(CSV)
    imports.act(job, "start")
    assert Table.objects.count() == 2
    imports.act(job, "cancel")
    assert Table.objects.count() == 1


def test_its_end_is_a_webhook(imports: Imports, alice: User) -> None:
    endpoint = WebhookEndpoint.objects.create(
        owner=alice, url="https://example.com/", events=["import.finished"], secret="x"
    )
    WebhookEndpoint.objects.create(owner=alice, url="https://example.com/other", secret="x")
    job = imports.run(imports.inspected(CSV))
    [delivery] = Delivery.objects.all()
    assert (delivery.endpoint_id, delivery.event) == (endpoint.pk, "import.finished")
    assert delivery.data["import_id"] == job["id"]
    assert delivery.data["rows"]["created"] == 2


# --- Undo -----------------------------------------------------------------------------------------
def test_an_import_is_undone_as_a_whole_but_for_what_was_changed_since(
    imports: Imports, products: Grid
) -> None:
    content = "SKU,Name,Price\nA-1,Chair,12\nA-9,Big lamp,35\nB-1,Bed,99\nB-2,Box,1\n"
    job = imports.inspected(content, table=products)
    job = imports.run(imports.patch(job, mode="upsert", key_field=products.key("SKU")))
    assert job["can_undo"]
    rows = {row["SKU"]: row for row in rows_of(imports.client, products.id)}
    assert (rows["A-1"]["Price"], rows["B-1"]["Name"]) == (12, "Bed")
    ids = {row[1]: row[0] for row in _ids(products)}
    products.batch(
        {"op": "update", "id": ids["A-9"], "values": {"Price": 40}},
        {"op": "update", "id": ids["B-2"], "values": {"Name": "Mine"}},
    )
    assert imports.act(job, "undo")["can_undo"] is False
    assert rows_of(imports.client, products.id) == [
        {"SKU": "A-1", "Name": "Old chair", "Price": 10, "Note": "by hand"},
        {"SKU": "A-9", "Name": "Lamp", "Price": 40, "Note": "kept"},
        {"SKU": "B-2", "Name": "Mine", "Price": 1, "Note": None},
    ]
    assert Table.objects.get(pk=products.id).row_count == 3
    imports.act(job, "undo", status=409)
    assert side_tables(job) == []
    kinds = list(Change.objects.order_by("-id").values_list("kind", "rows")[:1])
    assert kinds == [("revert", 3)]


def _ids(grid: Grid) -> list[tuple[int, str]]:
    column = Field.objects.get(pk=grid.fields["SKU"]["id"]).column
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {column} FROM tables.t{grid.id}")  # noqa: S608
        found: list[tuple[int, str]] = cursor.fetchall()
    return found


def test_old_imports_and_what_they_left_are_purged(imports: Imports, products: Grid) -> None:
    done = imports.run(imports.inspected("SKU\nx\n", table=products))
    waiting = imports.inspected("SKU\ny\n", table=products)
    assert len(side_tables(done)) == 1
    assert retention.purge() == 0
    old = timezone.now() - timedelta(days=8)
    Import.objects.filter(pk=done["id"]).update(ended_at=old)
    Import.objects.filter(pk=waiting["id"]).update(created_at=old)
    assert retention.purge() == 1
    assert side_tables(done) == []
    assert imports.get(waiting)["state"] == "cancelled"
    Import.objects.update(ended_at=timezone.now() - timedelta(days=91))
    assert retention.purge() == 2
    assert not Import.objects.exists()
