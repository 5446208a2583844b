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
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import cast

from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator, URLValidator
from pydantic import JsonValue

from aily.rest.json_input import exceeds
from chat.tables.models import Field, Kind

#: What a cell holds in Python; None: nothing.
Cell = str | int | bool | Decimal | date | datetime | list[int] | JsonValue
#: Raises ValueError with a sentence for people.
FromJson = Callable[[JsonValue], Cell]
FromText = Callable[[str], Cell]

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

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TRUE, _FALSE = {"true", "yes", "1", "是", "真"}, {"false", "no", "0", "否", "假"}
_is_url = URLValidator(schemes=["http", "https"])
_is_email = EmailValidator()


# --- From JSON ----------------------------------------------------------------------------------
def json_parser(field: Field) -> FromJson:
    """Return the function that turns a field's JSON values into cells, which raises ValueError."""
    kind = Kind(field.kind)
    if kind in (Kind.SELECT, Kind.MULTI_SELECT):
        return _choices_parser(field, is_list=kind == Kind.MULTI_SELECT)
    parse = _FROM_JSON[kind]
    return lambda value: None if value is None else parse(value)


def _text(value: JsonValue) -> str | None:
    if not isinstance(value, str):
        raise ValueError("This must be a string.")
    return _bounded(value) or None


def _bounded(value: str, max_bytes: int = MAX_CELL_BYTES) -> str:
    # A character has four bytes at most: most texts need not be encoded.
    if len(value) * 4 > max_bytes and len(value.encode()) > max_bytes:
        raise ValueError(f"This may have {max_bytes} bytes at most.")
    if "\0" in value:
        raise ValueError("Text must not contain the character U+0000.")
    return value


def _integer(value: JsonValue) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("This must be an integer.")
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"This must be between -{MAX_INTEGER} and {MAX_INTEGER}.")
    return value


def _number(value: JsonValue) -> Decimal:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("This must be a number.")
    return _bounded_number(Decimal(repr(value)))


def _bounded_number(number: Decimal) -> Decimal:
    if not number.is_finite() or abs(number) >= MAX_NUMBER:
        raise ValueError("This must be a number between -1e30 and 1e30.")
    exponent = cast("int", number.as_tuple().exponent)
    if exponent < -MAX_DECIMALS:
        raise ValueError(f"A number may have {MAX_DECIMALS} decimals at most.")
    return number


def _boolean(value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise ValueError("This must be true or false.")
    return value


def _date(value: JsonValue) -> date | None:
    if value == "":
        return None
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("This must be a date such as 2026-01-31.")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("There is no such day.") from None


def _datetime(value: JsonValue) -> datetime | None:
    if value == "":
        return None
    message = "This must be a time with its offset, such as 2026-01-31T12:00:00Z."
    if not isinstance(value, str):
        raise ValueError(message)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(message) from None
    if moment.tzinfo is None:
        raise ValueError(message)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("This time is out of range.") from None


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
    raise ValueError("This must be an http or https address.")


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
    raise ValueError("This must be an e-mail address.")


def _json(value: JsonValue) -> JsonValue:
    if exceeds(value, MAX_CELL_BYTES):
        raise ValueError(f"This may have {MAX_CELL_BYTES} bytes at most.")
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise ValueError(f"This may be nested {MAX_JSON_DEPTH} levels deep at most.")
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
        raise ValueError("This must be a list of ids of rows.")
    for item in value:
        if not isinstance(item, int) or isinstance(item, bool) or not 0 < item <= MAX_ROW_ID:
            raise ValueError("This must be a list of ids of rows.")
    ids = cast("list[int]", value)
    if len(ids) > MAX_LINKS_A_CELL:
        raise ValueError(f"A cell may have {MAX_LINKS_A_CELL} links at most.")
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
        raise ValueError("This is none of the field's choices.")

    def one(value: JsonValue) -> int | None:
        return None if value in (None, "") else find(value)

    def several(value: JsonValue) -> Cell:
        if value is None:
            return None
        if not isinstance(value, list):
            raise ValueError("This must be a list of choices.")
        if len(value) > MAX_CHOICES_A_CELL:
            raise ValueError(f"A cell may have {MAX_CHOICES_A_CELL} choices at most.")
        return list(dict.fromkeys(map(find, value))) or None

    return several if is_list else one


# --- From text ----------------------------------------------------------------------------------
def text_parser(field: Field) -> FromText:
    """Return the function that turns texts of files, or cells of another kind, into cells.

    It raises ValueError. Blank text is an empty cell, but for kinds that are texts themselves.
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
        if len(text) <= 100 and text.isascii() and "_" not in text:
            return _bounded_number(Decimal(text))
    except InvalidOperation:
        pass
    raise ValueError("This must be a number.")


def _boolean_of(text: str) -> JsonValue:
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else text


def _date_of(text: str) -> JsonValue:
    """Of a time, its day in UTC."""
    if len(text) > 10:
        try:
            return cast("datetime", _datetime_of_day_or_moment(text)).date().isoformat()
        except ValueError:
            return text
    return text


def _datetime_of_day_or_moment(text: str) -> datetime | None:
    return _datetime(_datetime_text(text))


def _datetime_text(text: str) -> str:
    """Without an offset it is UTC; a day begins at midnight."""
    if _DATE.fullmatch(text):
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
        raise ValueError(f"This may have {MAX_CELL_BYTES} bytes at most.")
    try:
        return cast("JsonValue", json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        raise ValueError("This is not valid JSON.") from None


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


# --- To JSON and text ---------------------------------------------------------------------------
def database_reader(field: Field) -> Callable[[object], Cell]:
    """Return the function that turns what the driver returns for the field's column into a cell."""
    if field.kind == Kind.JSON:
        # Django has psycopg return jsonb as text.
        return lambda value: json.loads(value) if isinstance(value, str) else cast("Cell", value)
    return lambda value: cast("Cell", value)


def to_json(cell: Cell) -> JsonValue:
    """The cell as it is in the JSON of a row."""
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(cell, date):
        return cell.isoformat()
    return cell


def text_writer(field: Field) -> Callable[[Cell], str]:
    """Return the function that writes the field's cells as texts, choices by their names."""
    names: Mapping[object, str] = {
        choice["id"]: str(choice["name"])
        for choice in (choices(field) if "choices" in field.options else ())
    }

    def to_text(cell: Cell) -> str:
        if cell is None:
            return ""
        match Kind(field.kind):
            case Kind.SELECT:
                return names.get(cell, "")
            case Kind.MULTI_SELECT:
                return ", ".join(names.get(item, "") for item in cast("list[int]", cell))
            case Kind.LINK:
                return ", ".join(map(str, cast("list[int]", cell)))
            case Kind.JSON:
                return json.dumps(cell, ensure_ascii=False)
            case Kind.BOOLEAN:
                return "true" if cell else "false"
            case Kind.NUMBER:
                return format(cast("Decimal", cell), "f")
        value = to_json(cell)
        return value if isinstance(value, str) else str(value)

    return to_text
