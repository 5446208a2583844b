"""The index of a view: the ids of all its rows in their order, packed by PostgreSQL.

An id takes 8 bytes, big-endian: 100,000 rows are 800 KB, made in 75 to 95 ms of CPU.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from sys import byteorder

from psycopg import sql
from pydantic import JsonValue

from chat.tables.queries.aggregates import Grouping, compile_groups
from chat.tables.queries.execution import run
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.operands import ROW_ID
from chat.tables.queries.pages import Query
from chat.tables.queries.sorts import SortKey, compile_sorts
from chat.tables.queries.statement import Statement

#: Bytes of an id.
ID_BYTES = 8
#: The order by hand, of views that name no other.
BY_HAND: JsonValue = [{"field": "pos"}]


def packed_ids(query: Query, groups: Sequence[Grouping] = ()) -> bytes:
    """The ids of all rows of the query, in order: groups first, then the sorts."""
    statement = Statement(query.table, query.operands)
    keys = ordered_keys(statement, query, groups)
    condition = compile_filter(statement, query.filter)
    order = sql.SQL(", ").join(key.ordered() for key in keys)
    select = sql.SQL(
        "SELECT coalesce(string_agg(int8send({}), ''::bytea ORDER BY {}), ''::bytea) {} WHERE {}"
    ).format(ROW_ID, order, statement.source(), condition)
    [[packed]] = run(select, statement)
    return bytes(packed)


def ordered_keys(
    statement: Statement, query: Query, groups: Sequence[Grouping] = ()
) -> list[SortKey]:
    """The keys of the order of a query's rows: of the groups first, then the sorts."""
    grouped = compile_groups(statement, groups, query.collation)
    sorts = compile_sorts(statement, query.sorts or BY_HAND, query.collation)
    return _distinct([*grouped, *sorts])


def _distinct(keys: Sequence[SortKey]) -> list[SortKey]:
    """Without keys that an earlier one has decided already: of the same value."""
    found: dict[str, SortKey] = {}
    for key in keys:
        found.setdefault(repr(key.value), key)
    return list(found.values())


def unpack_ids(packed: bytes) -> array[int]:
    """The ids, which take no object each until they are read."""
    ids = array("q", packed)
    if byteorder == "little":
        ids.byteswap()
    return ids


def matching_ids(query: Query, ids: Sequence[int]) -> set[int]:
    """Return the ids of these rows that the query finds. One statement."""
    if not ids:
        return set()
    statement = Statement(query.table, query.operands)
    condition = compile_filter(statement, query.filter)
    select = sql.SQL("SELECT {} {} WHERE {} = ANY({}) AND {}").format(
        ROW_ID,
        statement.source(),
        ROW_ID,
        statement.param(list(ids), "bigint[]"),
        condition,
    )
    return {int(row[0]) for row in run(select, statement)}
