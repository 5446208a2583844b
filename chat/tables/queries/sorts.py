"""Sorts: ORDER BY of a view, and the keys by which a page goes on after the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from psycopg import sql
from pydantic import JsonValue

from aily.database.rows import fetch_column
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.operands import ROW_ID, LinkedTable, Operand
from chat.tables.queries.statement import Statement

MAX_SORTS = 8
#: Collations of texts: by code point, which is PostgreSQL's default here, and by pinyin.
COLLATIONS = {"": None, "pinyin": "zh-x-icu"}
_TEXTS = ("text", "long_text", "url", "email")
_UNSORTED = ("json",)
_FIRST_LINKED = """
(SELECT ({label})::text FROM {pairs} l JOIN {table} o ON o.id = l.other_id
  WHERE l.row_id = {row} ORDER BY l.pos, l.other_id LIMIT 1)
"""
_FIRST_LINK = """
(SELECT l.other_id::text FROM {pairs} l WHERE l.row_id = {row}
  ORDER BY l.pos, l.other_id LIMIT 1)
"""
_TYPES = {
    "integer": "bigint",
    "number": "numeric",
    "float": "float8",
    "boolean": "boolean",
    "date": "date",
    "datetime": "timestamptz",
    "select": "integer",
    "multi_select": "integer",
}


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of the order. What has no value comes last in both directions."""

    name: str
    value: sql.Composable
    #: The type of the value in PostgreSQL.
    type: str
    is_descending: bool
    is_nullable: bool = True

    def ordered(self) -> sql.Composable:
        direction = sql.SQL("DESC NULLS LAST" if self.is_descending else "ASC NULLS LAST")
        return sql.SQL("{} {}").format(self.value, direction)


BY_ID = SortKey("id", ROW_ID, "bigint", is_descending=False, is_nullable=False)


@cache
def _known_collations() -> frozenset[str]:
    """Return the collations that this PostgreSQL was built with."""
    names = [name for name in COLLATIONS.values() if name]
    found = fetch_column(
        str, "SELECT collname::text FROM pg_collation WHERE collname = ANY(%s)", [names]
    )
    return frozenset(found)


def check_collation(collation: str) -> None:
    """Raise InvalidRequest if texts cannot be sorted by it here."""
    if collation not in COLLATIONS:
        reason = Reason.of("one_of", values=", ".join(repr(name) for name in COLLATIONS))
        raise because(InvalidRequest, reason, field="collation")
    if (named := COLLATIONS[collation]) and named not in _known_collations():
        raise because(InvalidRequest, Reason("collation_missing"), field="collation")


def compile_sorts(statement: Statement, sorts: JsonValue, collation: str = "") -> list[SortKey]:
    """The keys of the order, the row's id at the end. Raises InvalidRequest naming the place."""
    if not isinstance(sorts, list):
        raise because(InvalidRequest, Reason("not_list"), field="sorts")
    if len(sorts) > MAX_SORTS:
        raise because(InvalidRequest, Reason.of("too_many_sorts", limit=MAX_SORTS), field="sorts")
    keys: dict[str, SortKey] = {}
    for index, sort in enumerate(sorts):
        key = _compile(statement, sort, collation, f"sorts.{index}")
        # A field that was named before is sorted by already.
        keys.setdefault(key.name, key)
        if key.name == BY_ID.name:
            return list(keys.values())
    return [*keys.values(), BY_ID]


def _compile(statement: Statement, sort: JsonValue, collation: str, path: str) -> SortKey:
    if not isinstance(sort, dict) or not {"field"} <= set(sort) <= {"field", "desc"}:
        raise because(InvalidRequest, Reason("sort_shape"), field=path)
    is_descending = sort.get("desc", False)
    if not isinstance(is_descending, bool):
        raise because(InvalidRequest, Reason("not_boolean"), field=f"{path}.desc")
    operand = statement.operand(sort["field"], f"{path}.field")
    return sort_key(operand, collation, f"{path}.field", is_descending=is_descending)


def sort_key(operand: Operand, collation: str, path: str, *, is_descending: bool) -> SortKey:
    """The key of one value. Raises InvalidRequest where there is no order."""
    if operand.kind in _UNSORTED:
        raise because(InvalidRequest, Reason.of("not_sortable", kind=operand.kind), field=path)
    value = _sorted_value(operand)
    kind = _TYPES.get(operand.kind, "text")
    if kind == "text" and (named := COLLATIONS.get(collation)):
        value = sql.SQL("{} COLLATE {}").format(value, sql.Identifier(named))
    is_nullable = operand.name not in ("id", "updated_at", "pos")
    return SortKey(operand.name, value, kind, is_descending, is_nullable)


def _sorted_value(operand: Operand) -> sql.Composable:
    """The sort key of a value: of a choice its place, of links the first one's label."""
    if operand.kind == "select":
        return _place(operand, operand.value)
    if operand.kind == "multi_select":
        return _place(operand, sql.SQL("{}[1]").format(operand.value))
    if operand.link is not None:
        return _first_linked(operand.link)
    return operand.value


def _first_linked(link: LinkedTable) -> sql.Composable:
    """The text of the first linked row."""
    if link.label is None:
        return sql.SQL(_FIRST_LINK).format(pairs=link.pairs, row=ROW_ID)
    return sql.SQL(_FIRST_LINKED).format(
        label=link.label, pairs=link.pairs, table=link.table, row=ROW_ID
    )


def _place(operand: Operand, value: sql.Composable) -> sql.Composable:
    # Whole numbers of the catalogue: they may stand in the statement, which an index needs.
    choices = sql.SQL(", ").join(sql.Literal(int(choice)) for choice in operand.choices.values())
    return sql.SQL("array_position(ARRAY[{}]::int[], {})").format(choices, value)


def order_by(keys: Sequence[SortKey]) -> sql.Composable:
    return sql.SQL("ORDER BY {}").format(sql.SQL(", ").join(key.ordered() for key in keys))
