"""Cells of files as values of a field's kind: in the file's own way of writing them.

What comes out is what the REST API takes as JSON; chat/tables/values.py checks it further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import msgspec
from pydantic import JsonValue

from chat.reasons import Reason, ReasonError
from chat.tables.files.dialects import Dialect

Convert = Callable[[JsonValue], JsonValue]

TRUE = frozenset({"true", "yes", "y", "t", "1", "on", "是", "真", "✓", "√"})
FALSE = frozenset({"false", "no", "n", "f", "0", "off", "否", "假", "✗", "×"})
_INTEGER = re.compile(r"^[+-]?[0-9]+$")
_GROUPED = re.compile(r"^[+-]?[0-9]{1,3}(,[0-9]{3})+$")
_DECIMAL = re.compile(r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$")
_GROUPS = {False: re.compile(r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$")}
#: Spreadsheets of some languages write blanks between thousands that do not break a line.
_BLANKS = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_GROUPS[True] = re.compile(rf"^[+-]?[0-9]{{1,3}}([.{_BLANKS}][0-9]{{3}})+(,[0-9]*)?$")
_YEAR_FIRST = re.compile(r"^([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?$")
_YEAR_LAST = re.compile(r"^([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})$")
_TIME = re.compile(
    r"^(.+?)[T ]\s*([0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
    r"\s*(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?$"
)
_SEPARATORS = re.compile(r"[;,，；、]")


class CellError(ReasonError):
    """The cell is no value of its field's kind; says what it is not."""


def parse_integer(text: str, dialect: Dialect) -> int:
    text = text.strip()
    if _INTEGER.match(text):
        return _bounded(text)
    grouped = text.replace(".", ",") if dialect.decimal_comma else text
    if _GROUPED.match(grouped):
        return _bounded(grouped.replace(",", ""))
    raise CellError(Reason.of("no_integer"))


def _bounded(digits: str) -> int:
    # Python takes ever longer to read more digits, and refuses more than 4,300.
    if len(digits) > 20:
        raise CellError(Reason.of("integer_too_large"))
    return int(digits)


def parse_number(text: str, dialect: Dialect) -> str:
    """A decimal number, as JSON writes it."""
    text = text.strip()
    if _GROUPS[dialect.decimal_comma].match(text):
        text = text.translate(_DROP_DOTS if dialect.decimal_comma else _DROP_COMMAS)
    if dialect.decimal_comma:
        text = text.replace(",", ".")
    if not _DECIMAL.match(text):
        raise CellError(Reason.of("no_number"))
    return text


_DROP_DOTS, _DROP_COMMAS = dict.fromkeys(map(ord, f".{_BLANKS}")), {ord(","): None}


def parse_boolean(text: str, dialect: Dialect) -> bool:
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise CellError(Reason.of("no_boolean"))


def parse_date(text: str, dialect: Dialect) -> str:
    text = text.strip()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return _read_date(text, dialect).isoformat()


def _read_date(text: str, dialect: Dialect) -> date:
    try:
        if match := _YEAR_FIRST.match(text):
            year, month, day = map(int, match.groups())
            return date(year, month, day)
        if dialect.date_order != "ymd" and (match := _YEAR_LAST.match(text)):
            first, second, year = map(int, match.groups())
            day, month = (first, second) if dialect.date_order == "dmy" else (second, first)
            return date(year, month, day)
    except ValueError:
        raise CellError(Reason.of("no_such_date")) from None
    raise CellError(Reason.of("no_date"))


def parse_datetime(text: str, dialect: Dialect) -> str:
    """A time; without its distance from UTC it is UTC."""
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = _read_datetime(text, dialect)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.isoformat()


def _read_datetime(text: str, dialect: Dialect) -> datetime:
    match = _TIME.match(text)
    if match is None:
        return datetime.combine(_read_date(text, dialect), datetime.min.time())
    day, clock, zone = match.groups()
    clock = clock.rjust(len(clock) + (clock.index(":") == 1), "0")
    suffix = "+00:00" if zone in ("Z", "UTC") else zone or ""
    try:
        return datetime.fromisoformat(f"{parse_date(day, dialect)}T{clock}{suffix}")
    except CellError:
        raise
    except ValueError:
        raise CellError(Reason.of("no_such_time")) from None


def parse_json(text: str, dialect: Dialect) -> JsonValue:
    try:
        value: JsonValue = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise CellError(Reason.of("no_json")) from None
    return value


def parse_labels(text: str, dialect: Dialect) -> list[JsonValue]:
    """Several labels: a JSON array, or separated by commas or semicolons."""
    if text.lstrip().startswith("["):
        value = parse_json(text, dialect)
        if isinstance(value, list):
            return value
    labels = [label.strip() for label in _SEPARATORS.split(text)]
    return list(dict.fromkeys(label for label in labels if label))


_PARSERS: dict[str, Callable[[str, Dialect], JsonValue]] = {
    "integer": parse_integer,
    "number": parse_number,
    "boolean": parse_boolean,
    "date": parse_date,
    "datetime": parse_datetime,
    "multi_select": parse_labels,
    "json": parse_json,
}
#: Kinds whose values are the text itself, without the space around it.
_STRIPPED = frozenset({"select", "url", "email"})


def converter(kind: str, dialect: Dialect) -> Convert:
    """Returns the function that makes a value of this kind of a cell. It raises CellError; an
    empty cell is None."""
    parse = _PARSERS.get(kind)
    is_stripped = kind in _STRIPPED

    def convert(cell: JsonValue) -> JsonValue:
        if cell is None or cell == "":
            return None
        if not isinstance(cell, str):
            return cell if parse is not None else as_text(cell)
        if parse is None:
            return (cell.strip() or None) if is_stripped else cell
        return parse(cell, dialect) if not cell.isspace() else None

    return convert


def as_text(value: JsonValue) -> str:
    """A value of JSONL for a field of text."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
