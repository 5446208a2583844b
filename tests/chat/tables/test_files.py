"""Files of tables: encodings, dialects, kinds of columns, cells, formulas."""

from __future__ import annotations

import pytest

from chat.runs.reading.encodings import EncodingDetector
from chat.tables.files.cells import CellError, converter
from chat.tables.files.dialects import Dialect, looks_like_header, sniff_delimiter
from chat.tables.files.formulas import defused
from chat.tables.files.guessing import (
    Sample,
    column_names,
    guess_date_order,
    guess_decimal_comma,
    guess_kind,
)
from chat.tables.files.reading import Reader

PLAIN = Dialect()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("名称,价格\n".encode("utf-8-sig"), "utf-8"),
        ("名称,价格\n".encode(), "utf-8"),
        ("名称,价格\n".encode("gb18030"), "gb18030"),
        ("名称,价格\n".encode("utf-16"), "utf-16-le"),
        ("﻿名称,价格\n".encode("utf-16-be"), "utf-16-be"),
        # Latin-1: neither UTF-8 nor GB18030.
        (b"caf\xe9 \xe9\xff\n", None),
    ],
)
def test_encodings_are_recognised_strictly(content: bytes, encoding: str | None) -> None:
    detector = EncodingDetector()
    # In pieces that split characters.
    for at in range(0, len(content), 3):
        detector.feed(content[at : at + 3])
    detector.feed(b"", is_last=True)
    assert detector.encoding == encoding


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b;c\n1,5;2;3\n1,7;2;3\n", ";"),
        ("a\tb\n1,2\t3\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('"a;x",b\n"1;2",3\n', ","),
        ("one column\nof text, with a comma\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_makes_even_rows(text: str, delimiter: str) -> None:
    assert sniff_delimiter(text, '"') == delimiter


def test_a_row_with_numbers_is_no_header() -> None:
    assert looks_like_header(["Name", "Price", ""])
    assert not looks_like_header(["Anna", "12.50"])
    assert not looks_like_header(["a", "", "", ""])


def test_names_of_columns_are_neither_empty_nor_twice() -> None:
    header = ["Name", " name ", "", "名称", "名称", "🙂", "🙂", "a\x00b\nc", "x" * 300]
    names = column_names(header)
    assert names[:8] == [
        "Name", "name 2", "Column 3", "名称", "名称 2", "🙂", "🙂 2", "a b c",
    ]  # fmt: skip
    assert len(names[8]) == 200
    assert len(set(map(str.casefold, names))) == len(names)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", ""], "integer"),
        (["1", "2.5", "-0.1"], "number"),
        (["1,234.50", "7"], "number"),
        # What would lose something as a number.
        (["007", "12"], "text"),
        (["1234567890123456", "1"], "text"),
        (["+4930123456"], "text"),
        (["13800138000", "12"], "text"),
        (["1", "n/a"], "text"),
        (["1e5"], "text"),
        (["true", "FALSE", ""], "boolean"),
        (["是", "否"], "boolean"),
        (["2026-01-31", "2026/2/1", "2026年3月5日"], "date"),
        (["2026-02-30"], "text"),
        (["2026-01-31 12:00", "2026-01-31T12:00:00Z"], "datetime"),
        # 1 February or 2 January: in doubt it is text.
        (["01/02/2026"], "text"),
        (["https://example.com/a", "http://example.org"], "url"),
        (["a@example.com"], "email"),
        (['{"a": 1}', "[1]"], "json"),
        (["{broken"], "text"),
        (["two\nlines"], "long_text"),
        (["", ""], "text"),
        ([1, 2], "integer"),
        ([1, 2.5, None], "number"),
        ([True], "boolean"),
        ([{"a": 1}], "json"),
        ([1, "x"], "text"),
    ],
)
def test_kinds_are_guessed_and_text_wins_in_doubt(cells: list[object], kind: str) -> None:
    assert guess_kind("Column", cells, PLAIN) == kind  # type: ignore[arg-type]


def test_a_column_named_phone_is_text() -> None:
    assert guess_kind("Phone", ["12345"], PLAIN) == "text"
    assert guess_kind("联系电话", ["12345"], PLAIN) == "text"


def test_the_order_of_dates_is_told_by_a_day_above_the_12th() -> None:
    assert guess_date_order([["01/02/2026"], ["31/01/2026"]]) == "dmy"
    assert guess_date_order([["01/02/2026"], ["01/31/2026"]]) == "mdy"
    assert guess_date_order([["01/02/2026"]]) == "ymd"


def test_the_decimal_comma_needs_another_delimiter() -> None:
    assert guess_decimal_comma([["1,5"], ["1.000,25"]], ";")
    assert not guess_decimal_comma([["1,5"]], ",")
    assert not guess_decimal_comma([["1.5"], ["2.5"], ["1,5"]], ";")


def test_a_sample_is_spread_over_all_rows() -> None:
    sample = Sample()
    for number in range(100_000):
        sample.add([str(number)])
    assert 1_000 <= len(sample.rows) <= 2_000
    numbers = [int(str(row[0])) for row in sample.rows]
    assert numbers[0] == 0
    assert numbers[-1] > 95_000
    assert sample.seen == 100_000


GERMAN = Dialect(decimal_comma=True, date_order="dmy")
AMERICAN = Dialect(date_order="mdy")


@pytest.mark.parametrize(
    ("kind", "dialect", "cell", "value"),
    [
        ("integer", PLAIN, " 42 ", 42),
        ("integer", PLAIN, "1,234,567", 1234567),
        ("integer", GERMAN, "1.234", 1234),
        ("number", PLAIN, "1,234.50", "1234.50"),
        ("number", PLAIN, ".5", ".5"),
        ("number", GERMAN, "1.234,5", "1234.5"),
        ("number", GERMAN, "-0,25", "-0.25"),
        ("number", GERMAN, "1\u202f234\u00a0567,5", "1234567.5"),
        ("date", PLAIN, "2028-02-29", "2028-02-29"),
        ("datetime", PLAIN, "2026-01-31 23:30 -0800", "2026-01-31T23:30:00-08:00"),
        ("number", PLAIN, 1.5, 1.5),
        ("boolean", PLAIN, "Yes", True),
        ("boolean", PLAIN, "否", False),
        ("date", PLAIN, "2026/1/5", "2026-01-05"),
        ("date", PLAIN, "2026年1月5日", "2026-01-05"),
        ("date", GERMAN, "31.01.2026", "2026-01-31"),
        ("date", AMERICAN, "01/31/2026", "2026-01-31"),
        ("datetime", PLAIN, "2026-01-31 9:05", "2026-01-31T09:05:00+00:00"),
        ("datetime", PLAIN, "2026-01-31T12:00:00+08:00", "2026-01-31T12:00:00+08:00"),
        ("datetime", GERMAN, "31.01.2026 12:30:15", "2026-01-31T12:30:15+00:00"),
        ("datetime", PLAIN, "2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("multi_select", PLAIN, "red; green, red、蓝", ["red", "green", "蓝"]),
        ("multi_select", PLAIN, '["a, b", "c"]', ["a, b", "c"]),
        ("select", PLAIN, " red ", "red"),
        ("json", PLAIN, '{"a": [1]}', {"a": [1]}),
        ("text", PLAIN, "  as it is ", "  as it is "),
        ("text", PLAIN, 5, "5"),
        ("text", PLAIN, "", None),
        ("number", PLAIN, "  ", None),
        ("text", PLAIN, None, None),
    ],
)
def test_cells_are_read_as_the_file_writes_them(
    kind: str, dialect: Dialect, cell: object, value: object
) -> None:
    assert converter(kind, dialect)(cell) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("integer", "1.5"),
        ("integer", "１２x"),
        ("integer", "9" * 5_000),
        ("number", "1,5"),
        ("number", "12 %"),
        ("number", "nan"),
        ("boolean", "maybe"),
        ("date", "2026-02-30"),
        ("date", "2026-02-29"),
        ("date", "13/13/2026"),
        ("number", "1e9999"),
        ("number", "inf"),
        ("datetime", "2026-01-31 12:00 CST"),
        ("date", "01/02/2026"),
        ("date", "yesterday"),
        ("datetime", "2026-01-31 25:00"),
        ("json", "{"),
    ],
)
def test_cells_that_do_not_fit_are_errors(kind: str, cell: str) -> None:
    with pytest.raises(CellError):
        converter(kind, PLAIN)(cell)


@pytest.mark.parametrize(
    "cell",
    [
        *('=HYPERLINK("http://x")', "+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1"),
        "\n=1+1",
        *("＝1+1", "＋1+1", "－1+1", "＠SUM"),
    ],
)
def test_formulas_are_defused(cell: str) -> None:
    assert defused(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-5", "+1.5", "-1e5", "plain", "", "a=b", "-0,5"])
def test_numbers_and_texts_stay_as_they_are(cell: str) -> None:
    assert defused(cell) == cell


def test_a_record_of_another_width_is_bad_unless_what_is_beyond_is_empty() -> None:
    content = b"a,b\n1,2\n3\n4,5,6\n7,8,,\n\n9,10\n"
    records = list(Reader([content], PLAIN, 1_000).records())
    good = [(line, cells) for line, cells in records if isinstance(cells, list)]
    assert good == [(2, ["1", "2"]), (5, ["7", "8"]), (7, ["9", "10"])]
    assert [line for line, cells in records if not isinstance(cells, list)] == [3, 4]


def test_lines_are_counted_through_cells_of_several_lines() -> None:
    content = b'a,b\n"x\ny",1\n2,3\n'
    assert [line for line, _ in Reader([content], PLAIN, 1_000).records()] == [2, 4]
