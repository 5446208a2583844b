"""Pages of rows by filter and order, for programs: keyset cursors, as deep as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql
from pydantic import JsonValue

from chat.tables.queries.cursors import (
    Cursor,
    decode_cursor,
    encode_cursor,
    query_digest,
    stages,
)
from chat.tables.queries.execution import run
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.operands import ROW_ID, Operands
from chat.tables.queries.sorts import SortKey, compile_sorts, order_by
from chat.tables.queries.statement import Statement, all_of

#: What `count: capped` counts to.
COUNT_CAP = 10_000
Count = Literal["exact", "capped", "none"]


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows, in which order."""

    table: sql.Composable
    operands: Operands
    filter: JsonValue = None
    sorts: JsonValue = None
    collation: str = ""


@dataclass(frozen=True, slots=True)
class RowIds:
    """A page. `next`: the cursor of the page after it. `count` is None where none was wanted."""

    ids: list[int]
    next: str | None
    count: int | None = None
    #: The count is a bound: there are that many rows, or more.
    is_capped: bool = False


def page_of_ids(query: Query, limit: int, cursor: str | None, count: Count) -> RowIds:
    """The ids of one page. One statement for them, at most two, and one for the count.

    Raises InvalidRequest.
    """
    digest = query_digest(query.filter, query.sorts, query.collation)
    found, next_values = _read(query, limit, cursor, digest)
    number = count_rows(query, count)
    is_capped = count == "capped" and number is not None and number > COUNT_CAP
    return RowIds(
        found,
        encode_cursor(Cursor(digest, next_values)) if next_values is not None else None,
        COUNT_CAP if is_capped else number,
        is_capped,
    )


def _read(
    query: Query, limit: int, cursor: str | None, digest: str
) -> tuple[list[int], list[str | None] | None]:
    """The ids, and the keys' values of the last row if there are rows after it."""
    keys = compile_sorts(Statement(query.table, query.operands), query.sorts or [], query.collation)
    after = decode_cursor(cursor, digest, keys) if cursor is not None else None
    number = len(stages(Statement(query.table, query.operands), keys, after))
    rows: list[tuple[Any, ...]] = []
    for stage in range(number):
        rows += _read_stage(query, after, stage, limit + 1 - len(rows))
        if len(rows) > limit:
            break
    ids = [int(row[0]) for row in rows[:limit]]
    return ids, list(rows[limit - 1][1:]) if len(rows) > limit else None


def _read_stage(query: Query, after: Cursor | None, stage: int, limit: int) -> list[Any]:
    statement = Statement(query.table, query.operands)
    keys = compile_sorts(statement, query.sorts or [], query.collation)
    condition = compile_filter(statement, query.filter)
    place = stages(statement, keys, after)[stage]
    select = sql.SQL("SELECT {}, {} {} WHERE {} {} LIMIT {}").format(
        ROW_ID,
        _as_texts(keys),
        statement.source(),
        all_of([condition, place]),
        order_by(keys),
        statement.param(limit, "bigint"),
    )
    return run(select, statement)


def _as_texts(keys: Sequence[SortKey]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("({})::text").format(key.value) for key in keys)


def count_rows(query: Query, count: Count) -> int | None:
    """How many rows there are, in one statement; None if that is not wanted."""
    if count == "none":
        return None
    statement = Statement(query.table, query.operands)
    condition = compile_filter(statement, query.filter)
    rows = sql.SQL("SELECT {} WHERE {}").format(statement.source(), condition)
    if count == "capped":
        limit = statement.param(COUNT_CAP + 1, "bigint")
        rows = sql.SQL("{} LIMIT {}").format(rows, limit)
    [[number]] = run(sql.SQL("SELECT count(*) FROM ({}) found").format(rows), statement)
    return int(number)
