"""Keyset cursors: a page goes on after the last row of the one before, however deep it is."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

import msgspec
from psycopg import sql

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.sorts import SortKey
from chat.tables.queries.statement import TRUE, Statement, all_of, any_of


class Cursor(msgspec.Struct, array_like=True):
    """The values of the keys of a page's last row, as PostgreSQL's texts; None: no value."""

    #: Of the order and filter that the page was made with.
    digest: str
    values: list[str | None]


def query_digest(*parts: object) -> str:
    """A short digest of what a cursor belongs to."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def encode_cursor(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str, digest: str, keys: Sequence[SortKey]) -> Cursor:
    """Read a cursor. Raises InvalidRequest if it is none, or one of another query."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise because(InvalidRequest, Reason("no_cursor"), field="cursor") from None
    if cursor.digest != digest or len(cursor.values) != len(keys):
        raise because(InvalidRequest, Reason("other_cursor"), field="cursor")
    if any(value is not None and "\0" in value for value in cursor.values):
        raise because(InvalidRequest, Reason("no_cursor"), field="cursor")
    return cursor


def stages(
    statement: Statement, keys: Sequence[SortKey], cursor: Cursor | None
) -> list[sql.Composable]:
    """Conditions of the rows after the cursor, in parts that follow each other.

    First those with a value of the first key, then those without: one condition for both would be
    an OR, for which PostgreSQL uses no index. The first key's own bound lets an index begin there.
    """
    first = keys[0]
    if cursor is None:
        return [TRUE]
    after = _after(statement, keys, cursor.values)
    if not first.is_nullable:
        return [all_of([_bound(statement, first, cursor.values[0]), after])]
    has_value, has_none = _parts(first)
    if cursor.values[0] is None:
        return [all_of([has_none, after])]
    bound = _bound(statement, first, cursor.values[0])
    return [all_of([has_value, bound, after]), has_none]


def _parts(key: SortKey) -> list[sql.Composable]:
    return [
        sql.SQL("{} IS NOT NULL").format(key.value),
        sql.SQL("{} IS NULL").format(key.value),
    ]


def _bound(statement: Statement, key: SortKey, value: str | None) -> sql.Composable:
    operator = sql.SQL("<=" if key.is_descending else ">=")
    return sql.SQL("{} {} {}").format(key.value, operator, statement.param(value, key.type))


def _after(
    statement: Statement, keys: Sequence[SortKey], values: Sequence[str | None]
) -> sql.Composable:
    """The row comes after these values: at the first key that differs."""
    cases: list[sql.Composable] = []
    equal: list[sql.Composable] = []
    for key, value in zip(keys, values, strict=True):
        if value is None:
            # Nothing comes after what has no value but what has none either.
            equal.append(sql.SQL("{} IS NULL").format(key.value))
            continue
        parameter = statement.param(value, key.type)
        operator = sql.SQL("<" if key.is_descending else ">")
        later = sql.SQL("{} {} {}").format(key.value, operator, parameter)
        if key.is_nullable:
            later = sql.SQL("({} OR {} IS NULL)").format(later, key.value)
        cases.append(all_of([*equal, later]))
        equal.append(sql.SQL("{} = {}").format(key.value, parameter))
    return any_of(cases)
