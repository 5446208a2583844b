"""Groups of rows and what is computed of each: counts, sums, means, least and greatest values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.execution import run
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.operands import Operand
from chat.tables.queries.pages import Query
from chat.tables.queries.sorts import SortKey, sort_key
from chat.tables.queries.statement import Statement
from chat.tables.values import to_json

MAX_GROUPS = 1_000
MAX_GROUP_FIELDS = 2
MAX_AGGREGATES = 50

_NUMBERS = ("integer", "number", "float")
_ORDERED = (*_NUMBERS, "date", "datetime", "text", "long_text", "url", "email")
_ANY = (*_ORDERED, "boolean", "select", "multi_select", "json")
#: By name: its SQL, and the kinds of fields it is for.
FUNCTIONS: dict[str, tuple[str, Sequence[str]]] = {
    "sum": ("sum({})", _NUMBERS),
    "avg": ("avg({})", _NUMBERS),
    "min": ("min({})", _ORDERED),
    "max": ("max({})", _ORDERED),
    "distinct": ("count(DISTINCT {})", _ANY),
    "filled": ("count({})", _ANY),
    "empty": ("count(*) - count({})", _ANY),
    "true": ("count(*) FILTER (WHERE {})", ("boolean",)),
}
#: Parts of a date by which rows are grouped.
BUCKETS = ("day", "week", "month", "year")
_UNGROUPED = ("json", "link", "multi_select", "long_text")


@dataclass(frozen=True, slots=True)
class Grouping:
    """A field by whose values rows are grouped; of dates and times perhaps a part."""

    field: str
    is_descending: bool = False
    bucket: str | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    field: str
    function: str


@dataclass(frozen=True, slots=True)
class Group:
    """`keys`: the values that its rows share. `values` in the order of the aggregates."""

    keys: list[JsonValue]
    count: int
    values: list[JsonValue]


def compile_groups(
    statement: Statement, groups: Sequence[Grouping], collation: str
) -> list[SortKey]:
    """The keys that rows are grouped by, in the order of the groups. Raises InvalidRequest."""
    if len(groups) > MAX_GROUP_FIELDS:
        raise because(
            InvalidRequest, Reason.of("too_many_groupings", limit=MAX_GROUP_FIELDS), field="groups"
        )
    return [
        _group_key(statement, group, collation, f"groups.{index}")
        for index, group in enumerate(groups)
    ]


def _group_key(statement: Statement, group: Grouping, collation: str, path: str) -> SortKey:
    operand = statement.operand(group.field, f"{path}.field")
    if operand.kind in _UNGROUPED:
        raise because(
            InvalidRequest, Reason.of("not_groupable", kind=operand.kind), field=f"{path}.field"
        )
    key = sort_key(operand, collation, f"{path}.field", is_descending=group.is_descending)
    if group.bucket is None:
        return key
    if operand.kind not in ("date", "datetime") or group.bucket not in BUCKETS:
        raise because(
            InvalidRequest, Reason.of("buckets", names=", ".join(BUCKETS)), field=f"{path}.bucket"
        )
    # Of a time its day in UTC, whatever the session's time zone.
    value = sql.SQL("date_trunc({}, ({})::timestamptz, 'UTC')").format(
        sql.Literal(group.bucket), _in_utc(operand)
    )
    return SortKey(key.name, value, "timestamptz", key.is_descending)


def _in_utc(operand: Operand) -> sql.Composable:
    if operand.kind == "date":
        return sql.SQL("{}::timestamp AT TIME ZONE 'UTC'").format(operand.value)
    return operand.value


def aggregate(
    query: Query,
    groups: Sequence[Grouping],
    aggregates: Sequence[Aggregate],
    limit: int = MAX_GROUPS,
) -> tuple[list[Group], bool]:
    """The groups in order, and whether there are more than `limit`. One statement.

    Without `groups`: one group of all rows. Raises InvalidRequest.
    """
    statement = Statement(query.table, query.operands)
    keys = compile_groups(statement, groups, query.collation)
    values = aggregate_columns(statement, aggregates)
    condition = compile_filter(statement, query.filter)
    shown = [statement.operand(group.field, "groups") for group in groups]
    columns = [*_shown_keys(keys, shown), sql.SQL("count(*)"), *values]
    parts = [sql.SQL("SELECT {} {}").format(sql.SQL(", ").join(columns), statement.source())]
    parts.append(sql.SQL("WHERE {}").format(condition))
    if keys:
        grouped = sql.SQL(", ").join(
            part for key, own in zip(keys, shown, strict=True) for part in _grouped_by(key, own)
        )
        order = sql.SQL(", ").join(key.ordered() for key in keys)
        parts.append(sql.SQL("GROUP BY {} ORDER BY {}").format(grouped, order))
    parts.append(sql.SQL("LIMIT {}").format(statement.param(limit + 1, "bigint")))
    rows = run(sql.SQL(" ").join(parts), statement)
    return [_group(row, len(keys)) for row in rows[:limit]], len(rows) > limit


def _shown_keys(keys: Sequence[SortKey], operands: Sequence[Operand]) -> list[sql.Composable]:
    """What a group is named by: the value itself, not its place among the choices."""
    return [
        operand.value if operand.kind == "select" else key.value
        for key, operand in zip(keys, operands, strict=True)
    ]


def _grouped_by(key: SortKey, operand: Operand) -> list[sql.Composable]:
    return [key.value, operand.value] if operand.kind == "select" else [key.value]


def aggregate_columns(
    statement: Statement, aggregates: Sequence[Aggregate]
) -> list[sql.Composable]:
    """What is computed of each group. Raises InvalidRequest."""
    if len(aggregates) > MAX_AGGREGATES:
        raise because(
            InvalidRequest,
            Reason.of("too_many_aggregates", limit=MAX_AGGREGATES),
            field="aggregates",
        )
    found: list[sql.Composable] = []
    for wanted in aggregates:
        path = f"aggregates.{wanted.field}"
        operand = statement.operand(wanted.field, path)
        template, kinds = FUNCTIONS.get(wanted.function, ("", ()))
        if operand.kind not in kinds:
            raise because(InvalidRequest, _functions_of(operand.kind), field=path)
        found.append(sql.SQL(template).format(operand.value))
    return found


def _functions_of(kind: str) -> Reason:
    names = [name for name, (_, kinds) in FUNCTIONS.items() if kind in kinds]
    if not names:
        return Reason.of("no_functions", kind=kind)
    return Reason.of("functions", kind=kind, names=", ".join(names))


def _group(row: Sequence[object], keys: int) -> Group:
    values: list[JsonValue] = [to_json(value) for value in row]  # type: ignore[arg-type]
    return Group(values[:keys], int(row[keys]), values[keys + 1 :])  # type: ignore[call-overload]
