"""Values that conditions compare with, checked and as parameters of the statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

from psycopg import sql
from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.operands import Operand
from chat.tables.queries.statement import Statement
from chat.tables.values import UnfitValueError

MAX_TEXT_CHARS = 10_000
#: Values of one `in`.
MAX_VALUES = 1_000
_MAX_BIGINT = 2**63

#: Makes a parameter of a JSON value. Raises UnfitValueError with what is wrong.
Reader = Callable[[JsonValue], object]


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise UnfitValueError(Reason.of("not_string"))
    if len(value) > MAX_TEXT_CHARS:
        raise UnfitValueError(Reason.of("too_many_characters", limit=MAX_TEXT_CHARS))
    return value


def _integer(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnfitValueError(Reason.of("not_integer"))
    if not -_MAX_BIGINT <= value < _MAX_BIGINT:
        raise UnfitValueError(Reason.of("number_too_large"))
    return value


def _number(value: JsonValue) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitValueError(Reason.of("not_number"))
    # By its text: a float is the number that was written, not its nearest binary fraction.
    return Decimal(repr(value))


def _boolean(value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise UnfitValueError(Reason.of("not_boolean"))
    return value


def _date(value: JsonValue) -> date:
    try:
        if isinstance(value, str) and len(value) == len("2026-01-31"):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise UnfitValueError(Reason.of("not_date"))


def _datetime(value: JsonValue) -> datetime:
    try:
        if isinstance(value, str) and len(value) <= 40:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UnfitValueError(Reason.of("not_time"))


#: By kind: how a value is read, and its type in PostgreSQL.
_READERS: dict[str, tuple[Reader, str]] = {
    "text": (_text, "text"),
    "long_text": (_text, "text"),
    "url": (_text, "text"),
    "email": (_text, "text"),
    "integer": (_integer, "bigint"),
    "number": (_number, "numeric"),
    "float": (_number, "float8"),
    "boolean": (_boolean, "boolean"),
    "date": (_date, "date"),
    "datetime": (_datetime, "timestamptz"),
    "select": (_integer, "integer"),
    "multi_select": (_integer, "integer"),
    "link": (_integer, "bigint"),
}


def read_value(kind: str, value: JsonValue, path: str) -> object:
    """The value for a comparison with this kind. Raises InvalidRequest naming `path`."""
    try:
        return _READERS[kind][0](value)
    except UnfitValueError as error:
        raise because(InvalidRequest, error.reason, field=path) from None


def scalar(statement: Statement, operand: Operand, value: JsonValue, path: str) -> sql.Composable:
    """One value as a parameter."""
    return statement.param(_read(operand, value, path), _READERS[operand.kind][1])


def array(statement: Statement, operand: Operand, value: JsonValue, path: str) -> sql.Composable:
    """A list of values as a parameter."""
    found = [
        _read(operand, item, f"{path}.{index}") for index, item in enumerate(items(value, path))
    ]
    return statement.param(found, f"{_READERS[operand.kind][1]}[]")


def items(value: JsonValue, path: str) -> list[JsonValue]:
    """A list of at most MAX_VALUES."""
    if not isinstance(value, list):
        raise because(InvalidRequest, Reason("not_list"), field=path)
    if len(value) > MAX_VALUES:
        raise because(InvalidRequest, Reason.of("more_values", limit=MAX_VALUES), field=path)
    return value


def _read(operand: Operand, value: JsonValue, path: str) -> object:
    """The value for a comparison with this operand; a choice by its id or name."""
    if operand.kind not in ("select", "multi_select"):
        return read_value(operand.kind, value, path)
    found = operand.choices.get(value) if isinstance(value, str) else value
    if found not in operand.choices.values() or isinstance(found, bool):
        raise because(InvalidRequest, Reason("no_such_choice"), field=path)
    return found


def pattern(text: JsonValue, path: str, *, is_start: bool = False) -> str:
    """A pattern for ILIKE: the text anywhere, or at the start. Raises InvalidRequest."""
    found = read_value("text", text, path)
    if not found:
        raise because(InvalidRequest, Reason("empty_text"), field=path)
    escaped = str(found).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%" if is_start else f"%{escaped}%"
