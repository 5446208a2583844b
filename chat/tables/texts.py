"""The value of one cell as a text: of a file, of the clipboard, of a field whose kind changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import cast

from pydantic import JsonValue

from chat.reasons import Reason
from chat.tables.models import Field, Kind
from chat.tables.values import (
    DATE,
    MAX_CELL_BYTES,
    Cell,
    UnfitValueError,
    bounded_number,
    choices,
    json_parser,
    to_json,
)

#: Raises UnfitValueError.
FromText = Callable[[str], Cell]
ToText = Callable[[Cell], str]

_TRUE, _FALSE = {"true", "yes", "1", "是", "真"}, {"false", "no", "0", "否", "假"}
#: Characters of a number: more are not tried.
_MAX_NUMBER_CHARS = 100


# --- From text ----------------------------------------------------------------------------------
def text_parser(field: Field) -> FromText:
    """Return the function that turns texts of files, or cells of another kind, into cells.

    It raises UnfitValueError. Blank text is an empty cell, but for kinds that are texts themselves.
    """
    kind = Kind(field.kind)
    parse = json_parser(field)
    if kind in (Kind.TEXT, Kind.LONG_TEXT):
        return parse
    read = _READ_TEXT.get(kind, _same)

    def from_text(text: str) -> Cell:
        stripped = text.strip()
        return parse(read(stripped)) if stripped else None

    if kind != Kind.NUMBER:
        return from_text
    return lambda text: _number_of(text.strip()) if text.strip() else None


def _same(text: str) -> JsonValue:
    return text


def _integer_of(text: str) -> JsonValue:
    try:
        return int(text) if len(text) <= 20 and text.isascii() and "_" not in text else text
    except ValueError:
        return _whole(text)


def _whole(text: str) -> JsonValue:
    """1.0 is an integer as well."""
    try:
        number = _number_of(text)
    except ValueError:
        return text
    return int(number) if number == number.to_integral_value() else text


def _number_of(text: str) -> Decimal:
    try:
        if len(text) <= _MAX_NUMBER_CHARS and text.isascii() and "_" not in text:
            return bounded_number(Decimal(text))
    except InvalidOperation:
        pass
    raise UnfitValueError(Reason.of("not_number"))


def _boolean_of(text: str) -> JsonValue:
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else text


def _date_of(text: str) -> JsonValue:
    """Parse a date; of a date and time the date, in its own time zone."""
    if DATE.fullmatch(text):
        return text
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return text


def _datetime_text(text: str) -> str:
    """Without an offset it is UTC; a day begins at midnight."""
    if DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo is not None else f"{text}Z"


def _list_of(text: str) -> JsonValue:
    """A JSON list, or names with commas between them."""
    if text.startswith("["):
        return _json_of(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _ids_of(text: str) -> JsonValue:
    if text.startswith("["):
        return _json_of(text)
    return [_integer_of(part.strip()) for part in text.split(",") if part.strip()]


def _json_of(text: str) -> JsonValue:
    if len(text) > MAX_CELL_BYTES:
        raise UnfitValueError(Reason.of("too_many_bytes", limit=MAX_CELL_BYTES))
    try:
        return cast("JsonValue", json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        raise UnfitValueError(Reason.of("not_json")) from None


def _refuse_constant(name: str) -> JsonValue:
    raise ValueError(name)


_READ_TEXT: dict[Kind, Callable[[str], JsonValue]] = {
    Kind.INTEGER: _integer_of,
    Kind.BOOLEAN: _boolean_of,
    Kind.DATE: _date_of,
    Kind.DATETIME: _datetime_text,
    Kind.MULTI_SELECT: _list_of,
    Kind.LINK: _ids_of,
    Kind.JSON: _json_of,
}


# --- To text --------------------------------------------------------------------------------------
def _plain(cell: Cell) -> str:
    return str(to_json(cell))


def text_writer(field: Field) -> ToText:
    """Return the function that writes the field's cells as texts, choices by their names."""
    kind = Kind(field.kind)
    names = {choice["id"]: str(choice["name"]) for choice in choices(field)}
    writers: dict[Kind, ToText] = {
        Kind.SELECT: lambda cell: names.get(cast("int", cell), ""),
        Kind.MULTI_SELECT: lambda cell: ", ".join(
            names.get(item, "") for item in cast("list[int]", cell)
        ),
        Kind.LINK: lambda cell: ", ".join(map(str, cast("list[int]", cell))),
        Kind.JSON: lambda cell: json.dumps(cell, ensure_ascii=False),
        Kind.BOOLEAN: lambda cell: "true" if cell else "false",
        Kind.NUMBER: lambda cell: format(cast("Decimal", cell), "f"),
    }
    write = writers.get(kind, _plain)
    return lambda cell: "" if cell is None else write(cell)
