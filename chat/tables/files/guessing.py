"""Names and kinds of a file's columns, from a sample of its rows.

An ambiguous column is text: `007` as a number loses its zeros for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pydantic import JsonValue

from chat.tables.files.cells import (
    CellError,
    parse_date,
    parse_datetime,
    parse_json,
)
from chat.tables.files.dialects import DATE_ORDERS, Dialect

MAX_NAME_CHARS = 200
#: Longer texts are read in a field of several lines.
LONG_TEXT_CHARS = 200
#: Numbers with more digits lose some as floating point, in spreadsheets and browsers.
MAX_DIGITS = 15
#: Rows of the sample, between this and twice as many; and their characters, of which rows with
#: much text have more: then the sample has fewer rows.
SAMPLE_ROWS, SAMPLE_CHARS = 1_000, 4_000_000
_INTEGER = re.compile(r"^[+-]?(0|[1-9][0-9]*)$")
_DECIMAL = {
    False: re.compile(r"^[+-]?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(,[0-9]{3})+)(\.[0-9]+)?$"),
    True: re.compile(r"^[+-]?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]+)?$"),
}
#: +49 30 1234567 has a space; 13800138000 is a mobile number in China.
_PHONE = re.compile(r"^(\+[0-9]{7,}|1[3-9][0-9]{9})$")
_PHONE_NAME = re.compile(r"phone|mobile|\btel\b|fax|电话|手机|传真", re.IGNORECASE)
_BOOLEAN = frozenset({"true", "false", "yes", "no", "是", "否"})
_URL = re.compile(r"^https?://[^\s]+$", re.IGNORECASE)
_EMAIL = re.compile(r"^[^\s@,;<>]+@[^\s@,;<>]+\.[^\s@,;<>]+$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_DAY = re.compile(r"^([0-9]{1,2})[-/.]([0-9]{1,2})[-/.][0-9]{4}")


class Sample:
    """At least SAMPLE_ROWS rows, if there are as many that fit, spread evenly over those added."""

    def __init__(self) -> None:
        self.rows: list[Sequence[JsonValue]] = []
        #: Of each row, and of all.
        self._chars: list[int] = []
        self._total = 0
        self._step = 1
        self.seen = 0

    def add(self, row: Sequence[JsonValue]) -> None:
        if self.seen % self._step == 0:
            self.rows.append(row)
            self._chars.append(sum(len(str(cell)) for cell in row))
            self._total += self._chars[-1]
            while self._is_full():
                self.rows, self._chars = self.rows[::2], self._chars[::2]
                self._total = sum(self._chars)
                self._step *= 2
        self.seen += 1

    def _is_full(self) -> bool:
        has_much_text = self._total > SAMPLE_CHARS and len(self.rows) > 1
        return has_much_text or len(self.rows) >= 2 * SAMPLE_ROWS


def column_names(header: Sequence[str]) -> list[str]:
    """The names of a file's columns, none empty, none twice, whatever their case."""
    names: list[str] = []
    taken: set[str] = set()
    for place, raw in enumerate(header, 1):
        name = _CONTROL.sub(" ", raw).strip()[:MAX_NAME_CHARS] or f"Column {place}"
        names.append(unique_name(name, taken))
    return names


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if it is taken. Adds it to the taken ones."""
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        suffix = f" {number}"
        free = name[: MAX_NAME_CHARS - len(suffix)] + suffix
    taken.add(free.casefold())
    return free


def guess_date_order(rows: Sequence[Sequence[JsonValue]]) -> str:
    """The order of dates that end with the year, if some day above the 12th decides it."""
    for cell in _texts(rows):
        if match := _DAY.match(cell):
            first, second = map(int, match.groups())
            if first > 12 >= second:
                return "dmy"
            if second > 12 >= first:
                return "mdy"
    return DATE_ORDERS[0]


def guess_decimal_comma(rows: Sequence[Sequence[JsonValue]], delimiter: str) -> bool:
    """Whether 1,5 is a number: with another delimiter, where no number has a decimal point."""
    if delimiter == ",":
        return False
    commas = points = 0
    for cell in _texts(rows):
        commas += bool(re.match(r"^[+-]?[0-9.]*,[0-9]{1,2}$", cell))
        points += bool(re.match(r"^[+-]?[0-9,]*\.[0-9]{1,2}$", cell))
    return commas > points


def _texts(rows: Sequence[Sequence[JsonValue]]) -> Iterator[str]:
    return (cell.strip() for row in rows for cell in row if isinstance(cell, str))


def guess_kinds(
    names: Sequence[str], rows: Sequence[Sequence[JsonValue]], dialect: Dialect
) -> list[str]:
    return [
        guess_kind(name, [row[place] for row in rows if place < len(row)], dialect)
        for place, name in enumerate(names)
    ]


def guess_kind(name: str, cells: Sequence[JsonValue], dialect: Dialect) -> str:
    """The kind that all cells have; text if there is none, or no cell."""
    given = [cell for cell in cells if cell is not None and cell != ""]
    if not given:
        return "text"
    if not all(isinstance(cell, str) for cell in given):
        return _kind_of_values(given)
    texts = [str(cell).strip() for cell in given]
    if not _PHONE_NAME.search(name) and not any(map(_PHONE.match, texts)):
        for kind, fits in _TESTS:
            if all(fits(text, dialect) for text in texts):
                return kind
    is_long = any("\n" in text or len(text) > LONG_TEXT_CHARS for text in texts)
    return "long_text" if is_long else "text"


def _kind_of_values(values: Sequence[JsonValue]) -> str:
    """The kind of values of JSON that are not all texts."""
    types = {type(value) for value in values}
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer" if all(abs(value) < 10**MAX_DIGITS for value in values) else "number"  # type: ignore[arg-type]
    if types <= {int, float}:
        return "number"
    if types & {dict, list}:
        return "json"
    return "text"


def _is_boolean(text: str, dialect: Dialect) -> bool:
    return text.lower() in _BOOLEAN


def _is_integer(text: str, dialect: Dialect) -> bool:
    return bool(_INTEGER.match(text)) and len(text.lstrip("+-")) <= MAX_DIGITS


def _is_number(text: str, dialect: Dialect) -> bool:
    is_decimal = _DECIMAL[dialect.decimal_comma].match(text)
    return bool(is_decimal) and sum(map(str.isdigit, text)) <= MAX_DIGITS


def _reads(
    parse: Callable[[str, Dialect], object], start: re.Pattern[str]
) -> Callable[[str, Dialect], bool]:
    def fits(text: str, dialect: Dialect) -> bool:
        if not start.match(text):
            return False
        try:
            parse(text, dialect)
        except CellError:
            return False
        return True

    return fits


_DATE_START = re.compile(r"^[0-9]{1,4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,4}")
_JSON_START = re.compile(r"^[\[{]")
#: In this order: what is an integer is a number as well.
_TESTS: tuple[tuple[str, Callable[[str, Dialect], bool]], ...] = (
    ("boolean", _is_boolean),
    ("integer", _is_integer),
    ("number", _is_number),
    ("date", _reads(parse_date, _DATE_START)),
    ("datetime", _reads(parse_datetime, _DATE_START)),
    ("url", lambda text, dialect: bool(_URL.match(text))),
    ("email", lambda text, dialect: bool(_EMAIL.match(text))),
    ("json", _reads(parse_json, _JSON_START)),
)
