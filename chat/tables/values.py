"""The value of one cell: from JSON or text into what PostgreSQL stores, and back.

| kind | JSON | Python and PostgreSQL |
|---|---|---|
| text, long_text, url, email | string | str, text |
| integer | integer of up to 53 bits | int, bigint |
| number | number | Decimal, numeric |
| boolean | true, false | bool |
| date | "2026-01-31" | date |
| datetime | "2026-01-31T12:00:00Z" | datetime in UTC, timestamptz |
| select | id of a choice; its name is taken as well | int |
| multi_select | list of them | list of int, integer[] |
| json | anything | the same, jsonb |
| link | list of ids of rows | list of int; its pairs are in a table of their own |

null is an empty cell. So is what says nothing: "" and [].
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator, URLValidator
from pydantic import JsonValue

from aily.rest.json_input import exceeds
from chat.reasons import Reason, ReasonError
from chat.tables.models import Field, Kind

#: What a cell holds in Python; None: nothing.
Cell = str | int | bool | Decimal | date | datetime | list[int] | JsonValue
#: Raises UnfitValueError.
FromJson = Callable[[JsonValue], Cell]

MAX_CELL_BYTES = 100_000
#: Integers that JSON's readers in browsers keep as they are (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1
#: Bound of a number, and how many decimals it may have.
MAX_NUMBER, MAX_DECIMALS = Decimal(10) ** 30, 30
MAX_URL_CHARS, MAX_EMAIL_CHARS = 2_048, 254
MAX_CHOICES_A_CELL = 100
MAX_LINKS_A_CELL = 1_000
MAX_ROW_ID = 2**63 - 1
MAX_JSON_DEPTH = 32

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_is_url = URLValidator(schemes=["http", "https"])
_is_email = EmailValidator()


class UnfitValueError(ReasonError):
    """A value that does not fit its field, and the words for it that people read."""


# --- From JSON ----------------------------------------------------------------------------------
def json_parser(field: Field) -> FromJson:
    """Return the function that makes cells of a field's JSON values. It raises UnfitValueError."""
    kind = Kind(field.kind)
    if kind in (Kind.SELECT, Kind.MULTI_SELECT):
        return _choices_parser(field, is_list=kind == Kind.MULTI_SELECT)
    parse = _FROM_JSON[kind]
    return lambda value: None if value is None else parse(value)


def _text(value: JsonValue) -> str | None:
    if not isinstance(value, str):
        raise UnfitValueError(Reason.of("not_string"))
    return _bounded(value) or None


def _bounded(value: str, max_bytes: int = MAX_CELL_BYTES) -> str:
    # A character has four bytes at most: most texts need not be encoded.
    if len(value) * 4 > max_bytes and len(value.encode()) > max_bytes:
        raise UnfitValueError(Reason.of("too_many_bytes", limit=max_bytes))
    if "\0" in value:
        raise UnfitValueError(Reason.of("null_character"))
    return value


def _integer(value: JsonValue) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnfitValueError(Reason.of("not_integer"))
    if abs(value) > MAX_INTEGER:
        raise UnfitValueError(Reason.of("integer_range", limit=MAX_INTEGER))
    return value


def _number(value: JsonValue) -> Decimal:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnfitValueError(Reason.of("not_number"))
    return bounded_number(Decimal(repr(value)))


def bounded_number(number: Decimal) -> Decimal:
    if not number.is_finite() or abs(number) >= MAX_NUMBER:
        raise UnfitValueError(Reason.of("number_range", limit="1e30"))
    exponent = cast("int", number.as_tuple().exponent)
    if exponent < -MAX_DECIMALS:
        raise UnfitValueError(Reason.of("too_many_decimals", limit=MAX_DECIMALS))
    return number


def _boolean(value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise UnfitValueError(Reason.of("not_boolean"))
    return value


def _date(value: JsonValue) -> date | None:
    if value == "":
        return None
    if not isinstance(value, str) or not DATE.fullmatch(value):
        raise UnfitValueError(Reason.of("not_date"))
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UnfitValueError(Reason.of("no_such_day")) from None


def _datetime(value: JsonValue) -> datetime | None:
    if value == "":
        return None
    reason = Reason.of("not_time")
    if not isinstance(value, str):
        raise UnfitValueError(reason)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise UnfitValueError(reason) from None
    if moment.tzinfo is None:
        raise UnfitValueError(reason)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise UnfitValueError(Reason.of("time_range")) from None


def _url(value: JsonValue) -> str | None:
    text = _text(value)
    if text is None:
        return None
    try:
        if len(text) <= MAX_URL_CHARS:
            _is_url(text)
            return text
    except ValidationError:
        pass
    raise UnfitValueError(Reason.of("not_url"))


def _email(value: JsonValue) -> str | None:
    text = _text(value)
    if text is None:
        return None
    try:
        if len(text) <= MAX_EMAIL_CHARS:
            _is_email(text)
            return text
    except ValidationError:
        pass
    raise UnfitValueError(Reason.of("not_email"))


def _json(value: JsonValue) -> JsonValue:
    if exceeds(value, MAX_CELL_BYTES):
        raise UnfitValueError(Reason.of("too_many_bytes", limit=MAX_CELL_BYTES))
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise UnfitValueError(Reason.of("too_many_levels", limit=MAX_JSON_DEPTH))
    return value


def _is_deeper(value: JsonValue, levels: int) -> bool:
    level: list[JsonValue] = [value]
    for _ in range(levels + 1):
        level = [
            below
            for item in level
            if isinstance(item, dict | list)
            for below in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _links(value: JsonValue) -> list[int] | None:
    if not isinstance(value, list):
        raise UnfitValueError(Reason.of("not_row_ids"))
    for item in value:
        if not isinstance(item, int) or isinstance(item, bool) or not 0 < item <= MAX_ROW_ID:
            raise UnfitValueError(Reason.of("not_row_ids"))
    ids = cast("list[int]", value)
    if len(ids) > MAX_LINKS_A_CELL:
        raise UnfitValueError(Reason.of("too_many_links", limit=MAX_LINKS_A_CELL))
    return list(dict.fromkeys(ids)) or None


_FROM_JSON: dict[Kind, FromJson] = {
    Kind.TEXT: _text,
    Kind.LONG_TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
    Kind.URL: _url,
    Kind.EMAIL: _email,
    Kind.JSON: _json,
    Kind.LINK: cast("FromJson", _links),
}


# --- Choices of selects -------------------------------------------------------------------------
def choices(field: Field) -> list[dict[str, JsonValue]]:
    """The choices of a select: dicts of `id`, `name` and perhaps `color`."""
    found: list[dict[str, JsonValue]] = field.options.get("choices", [])
    return found


def _choices_parser(field: Field, *, is_list: bool) -> FromJson:
    by_name = {str(choice["name"]): cast("int", choice["id"]) for choice in choices(field)}
    ids = set(by_name.values())

    def find(value: JsonValue) -> int:
        if isinstance(value, str) and value in by_name:
            return by_name[value]
        if isinstance(value, int) and not isinstance(value, bool) and value in ids:
            return value
        raise UnfitValueError(Reason.of("no_such_choice"))

    def parse_choice(value: JsonValue) -> int | None:
        return None if value in (None, "") else find(value)

    def parse_choices(value: JsonValue) -> Cell:
        if value is None:
            return None
        if not isinstance(value, list):
            raise UnfitValueError(Reason.of("not_choices"))
        if len(value) > MAX_CHOICES_A_CELL:
            raise UnfitValueError(Reason.of("too_many_choices", limit=MAX_CHOICES_A_CELL))
        return list(dict.fromkeys(map(find, value))) or None

    return parse_choices if is_list else parse_choice


# --- Out of PostgreSQL, and to JSON ---------------------------------------------------------------
def database_reader(field: Field) -> Callable[[object], Cell]:
    """Return the function that turns what the driver returns for the field's column into a cell."""
    if field.kind == Kind.JSON:
        # Django has psycopg return jsonb as text.
        return lambda value: json.loads(value) if isinstance(value, str) else cast("Cell", value)
    return lambda value: cast("Cell", value)


def to_json(cell: Cell) -> JsonValue:
    """The cell as it is in the JSON of a row."""
    if isinstance(cell, Decimal):
        return _number_to_json(cell)
    if isinstance(cell, datetime):
        return _datetime_to_json(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    return cast("JsonValue", cell)


def _number_to_json(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _datetime_to_json(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


#: From what the driver returns for a column, never None, to JSON. Of other kinds it is JSON.
_JSON_WRITERS: dict[str, Callable[[Any], JsonValue]] = {
    Kind.NUMBER: _number_to_json,
    Kind.DATE: date.isoformat,
    Kind.DATETIME: _datetime_to_json,
    Kind.JSON: json.loads,
}


def json_writer(kind: str) -> Callable[[Any], JsonValue] | None:
    """Return what makes JSON of the values that the driver returns for columns of this kind; None:
    they are JSON as they are."""
    return _JSON_WRITERS.get(kind)
