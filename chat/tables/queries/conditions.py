"""Conditions of filters: the comparisons of each kind of field, and their SQL.

A condition is never NULL: what has no value is not equal to anything, contains nothing, and meets
`is_not`, `not_contains` and `empty`. Texts are compared by `is` and `in` letter by letter, by
`contains` and `starts_with` in whatever case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql
from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries import literals
from chat.tables.queries.dates import begin_of, days_within, zone_named
from chat.tables.queries.operands import ROW_ID, Operand
from chat.tables.queries.statement import Statement

_KEYS = frozenset({"field", "op", "value", "timezone"})
_COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
#: The states of a value that a model makes.
STATES = ("none", "queued", "running", "done", "failed", "stale", "edited", "rejected")

Condition = Mapping[str, JsonValue]
#: Makes the SQL of a condition: statement, operand, the condition, and its path.
_Compiler = Callable[[Statement, Operand, Condition, str], sql.Composable]


def compile_condition(statement: Statement, condition: Condition, path: str) -> sql.Composable:
    """The SQL of one condition. Raises InvalidRequest naming what is wrong."""
    if unknown := sorted(set(condition) - _KEYS):
        raise because(InvalidRequest, Reason("condition_part"), field=f"{path}.{unknown[0]}")
    operand = statement.operand(condition["field"], f"{path}.field")
    name = condition.get("op")
    if name == "state_in" and operand.state is not None:
        return _state_in(statement, operand, condition, path)
    known = OPERATORS[operand.kind]
    compiler = known.get(name) if isinstance(name, str) else None
    if compiler is None:
        reason = Reason.of("comparison", kind=operand.kind, names=", ".join(known))
        raise because(InvalidRequest, reason, field=f"{path}.op")
    if "timezone" in condition and operand.kind not in ("date", "datetime"):
        raise because(InvalidRequest, Reason("zone_of_dates"), field=f"{path}.timezone")
    if name in ("empty", "not_empty") and condition.get("value") is not None:
        raise because(InvalidRequest, Reason("comparison_without_value"), field=f"{path}.value")
    found = compiler(statement, operand, condition, path)
    return sql.SQL("({} IS TRUE)").format(found)


def _value(condition: Condition) -> JsonValue:
    return condition.get("value")


# --- Any kind -----------------------------------------------------------------------------------
def _is(statement: Statement, operand: Operand, condition: Condition, path: str) -> sql.Composable:
    wanted = literals.scalar(statement, operand, _value(condition), f"{path}.value")
    return sql.SQL("{} = {}").format(operand.value, wanted)


def _in(statement: Statement, operand: Operand, condition: Condition, path: str) -> sql.Composable:
    wanted = literals.array(statement, operand, _value(condition), f"{path}.value")
    return sql.SQL("{} = ANY({})").format(operand.value, wanted)


def _empty(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    return sql.SQL("{} IS NULL").format(operand.value)


def _negated(compiler: _Compiler) -> _Compiler:
    """The opposite, which what has no value meets."""

    def compile_negated(
        statement: Statement, operand: Operand, condition: Condition, path: str
    ) -> sql.Composable:
        found = compiler(statement, operand, condition, path)
        return sql.SQL("({}) IS NOT TRUE").format(found)

    return compile_negated


def _compare(operator: str) -> _Compiler:
    def compile_comparison(
        statement: Statement, operand: Operand, condition: Condition, path: str
    ) -> sql.Composable:
        wanted = literals.scalar(statement, operand, _value(condition), f"{path}.value")
        return sql.SQL("{} {} {}").format(operand.value, sql.SQL(operator), wanted)

    return compile_comparison


def _between(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    first, last = _two(condition, path)
    return sql.SQL("{} BETWEEN {} AND {}").format(
        operand.value,
        literals.scalar(statement, operand, first, f"{path}.value.0"),
        literals.scalar(statement, operand, last, f"{path}.value.1"),
    )


def _two(condition: Condition, path: str) -> tuple[JsonValue, JsonValue]:
    values = _value(condition)
    if not isinstance(values, list) or len(values) != 2:
        raise because(InvalidRequest, Reason("two_values"), field=f"{path}.value")
    return values[0], values[1]


def _state_in(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    wanted = literals.items(_value(condition), f"{path}.value")
    for index, name in enumerate(wanted):
        if name not in STATES:
            raise because(
                InvalidRequest,
                Reason.of("one_of", values=", ".join(STATES)),
                field=f"{path}.value.{index}",
            )
    states = statement.param(wanted, "text[]")
    state = operand.state() if operand.state is not None else sql.SQL("NULL")
    return sql.SQL("(coalesce({}, 'none') = ANY({}))").format(state, states)


# --- Texts --------------------------------------------------------------------------------------
def _empty_text(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    return sql.SQL("coalesce({}, '') = ''").format(operand.value)


def _like(*, is_start: bool) -> _Compiler:
    def compile_like(
        statement: Statement, operand: Operand, condition: Condition, path: str
    ) -> sql.Composable:
        wanted = literals.pattern(_value(condition), f"{path}.value", is_start=is_start)
        text = sql.SQL("{}::text").format(operand.value)
        return sql.SQL("{} ILIKE {}").format(text, statement.param(wanted, "text"))

    return compile_like


# --- Times --------------------------------------------------------------------------------------
def _zone(condition: Condition, path: str) -> ZoneInfo:
    return zone_named(condition.get("timezone"), f"{path}.timezone")


def _within(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    zone = _zone(condition, path)
    first, end = days_within(_value(condition), zone, f"{path}.value")
    return _in_days(statement, operand, first, end, zone)


def _in_days(
    statement: Statement, operand: Operand, first: date, end: date, zone: ZoneInfo
) -> sql.Composable:
    """Days from `first` to the one before `end`."""
    kind = "date" if operand.kind == "date" else "timestamptz"
    bounds: list[date] = [first, end]
    if kind == "timestamptz":
        bounds = [begin_of(first, zone), begin_of(end, zone)]
    return sql.SQL("{0} >= {1} AND {0} < {2}").format(
        operand.value, *(statement.param(bound, kind) for bound in bounds)
    )


def _span(value: JsonValue, zone: ZoneInfo, path: str) -> tuple[datetime, datetime]:
    """The moment that a value names, twice; or of a day its begin, and its end, not included."""
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        day = literals.read_value("date", value, path)
        if isinstance(day, date) and day < date.max:
            return begin_of(day, zone), begin_of(day + timedelta(days=1), zone)
    moment = literals.read_value("datetime", value, path)
    assert isinstance(moment, datetime)  # noqa: S101 - as its kind says
    return moment, moment


def _is_moment(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    first, end = _span(_value(condition), _zone(condition, path), f"{path}.value")
    return _moments(statement, operand, first, end)


def _moments(
    statement: Statement, operand: Operand, first: datetime, end: datetime
) -> sql.Composable:
    """From `first` to before `end`; or that moment alone."""
    if first == end:
        return sql.SQL("{} = {}").format(operand.value, statement.param(first, "timestamptz"))
    return sql.SQL("{0} >= {1} AND {0} < {2}").format(
        operand.value, statement.param(first, "timestamptz"), statement.param(end, "timestamptz")
    )


def _compare_moment(name: str) -> _Compiler:
    """`gt` a day is after it, `gte` from its begin on, `lt` before it, `lte` before its end."""

    def compile_moment(
        statement: Statement, operand: Operand, condition: Condition, path: str
    ) -> sql.Composable:
        first, end = _span(_value(condition), _zone(condition, path), f"{path}.value")
        bound, operator = (end if name in ("gt", "lte") else first), _COMPARED[name]
        if first != end:
            operator = ">=" if name in ("gt", "gte") else "<"
        wanted = statement.param(bound, "timestamptz")
        return sql.SQL("{} {} {}").format(operand.value, sql.SQL(operator), wanted)

    return compile_moment


def _between_moments(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    values = _two(condition, path)
    zone = _zone(condition, path)
    first, _ = _span(values[0], zone, f"{path}.value.0")
    last, end = _span(values[1], zone, f"{path}.value.1")
    operator = sql.SQL("<=") if last == end else sql.SQL("<")
    return sql.SQL("{0} >= {1} AND {0} {3} {2}").format(
        operand.value,
        statement.param(first, "timestamptz"),
        statement.param(end, "timestamptz"),
        operator,
    )


# --- Several choices ----------------------------------------------------------------------------
def _is_set(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    wanted = literals.array(statement, operand, _value(condition), f"{path}.value")
    return sql.SQL("({0} @> {1} AND {0} <@ {1})").format(operand.value, wanted)


def _contains_choice(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    wanted = literals.scalar(statement, operand, _value(condition), f"{path}.value")
    return sql.SQL("{} = ANY({})").format(wanted, operand.value)


def _any_choice(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    wanted = literals.array(statement, operand, _value(condition), f"{path}.value")
    return sql.SQL("{} && {}").format(operand.value, wanted)


def _empty_list(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    return sql.SQL("coalesce(cardinality({}), 0) = 0").format(operand.value)


# --- JSON ---------------------------------------------------------------------------------------
def _is_json(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    wanted = statement.param(json.dumps(_value(condition)), "jsonb")
    return sql.SQL("{} = {}").format(operand.value, wanted)


# --- Links --------------------------------------------------------------------------------------
def _linked(
    operand: Operand, condition: sql.Composable | None = None, *, with_rows: bool = False
) -> sql.Composable:
    """Whether there is a link of the row that meets the condition on the pair `l`, or on the
    linked row `o`."""
    link = operand.link
    assert link is not None  # noqa: S101 - as its kind says
    rows = sql.SQL("JOIN {} o ON o.id = l.other_id").format(link.table)
    return sql.SQL("EXISTS (SELECT FROM {} l {} WHERE l.row_id = {}{})").format(
        link.pairs,
        rows if with_rows else sql.SQL(""),
        ROW_ID,
        sql.SQL("") if condition is None else sql.SQL(" AND {}").format(condition),
    )


def _contains_link(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    """A number is a row's id; a text is looked for in the labels of the linked rows."""
    value = _value(condition)
    if isinstance(value, str) and operand.link is not None:
        if operand.link.label is None:
            raise because(InvalidRequest, Reason("link_unreadable"), field=f"{path}.value")
        wanted = statement.param(literals.pattern(value, f"{path}.value"), "text")
        label = sql.SQL("{}::text ILIKE {}").format(operand.link.label, wanted)
        return _linked(operand, label, with_rows=True)
    row = literals.scalar(statement, operand, value, f"{path}.value")
    return _linked(operand, sql.SQL("l.other_id = {}").format(row))


def _any_link(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    rows = literals.array(statement, operand, _value(condition), f"{path}.value")
    return _linked(operand, sql.SQL("l.other_id = ANY({})").format(rows))


def _no_link(
    statement: Statement, operand: Operand, condition: Condition, path: str
) -> sql.Composable:
    return sql.SQL("NOT {}").format(_linked(operand))


# --- By kind ------------------------------------------------------------------------------------
def _operators(empty: _Compiler, **compilers: _Compiler) -> dict[str, _Compiler]:
    found = dict(compilers)
    for name in ("is", "contains"):
        if name in compilers:
            negative = "is_not" if name == "is" else "not_contains"
            found[negative] = _negated(compilers[name])
    return {**found, "empty": empty, "not_empty": _negated(empty)}


_like_anywhere, _like_start = _like(is_start=False), _like(is_start=True)
_TEXT = _operators(
    _empty_text,
    **{"is": _is, "contains": _like_anywhere, "starts_with": _like_start, "in": _in},
)
_ORDERED: dict[str, _Compiler] = {
    **{name: _compare(operator) for name, operator in _COMPARED.items()},
    "between": _between,
}
_NUMBER = _operators(_empty, **{"is": _is, "in": _in, **_ORDERED})
#: The comparisons of each kind, by their names in a condition.
OPERATORS: dict[str, dict[str, _Compiler]] = {
    **dict.fromkeys(("text", "long_text", "url", "email"), _TEXT),
    **dict.fromkeys(("integer", "number", "float"), _NUMBER),
    "boolean": _operators(_empty, **{"is": _is}),
    "date": _operators(_empty, **{"is": _is, "in": _in, **_ORDERED, "is_within": _within}),
    "datetime": _operators(
        _empty,
        **{
            "is": _is_moment,
            **{name: _compare_moment(name) for name in _COMPARED},
            "between": _between_moments,
            "is_within": _within,
        },
    ),
    "select": _operators(_empty, **{"is": _is, "in": _in}),
    "multi_select": _operators(
        _empty_list, **{"is": _is_set, "contains": _contains_choice, "in": _any_choice}
    ),
    "json": _operators(_empty, **{"is": _is_json, "contains": _like_anywhere}),
    "link": _operators(_no_link, **{"contains": _contains_link, "in": _any_link}),
}
