"""SQL statements whose rows are objects with named fields.

A row class has a field for every column of its statement, under the column's name, in any order.
The names are compared with the server's answer the first time that a statement and a row class
meet in this process; from then on a row costs 0.05 µs more than the driver's tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

if TYPE_CHECKING:
    from aily.database.backend.base import DatabaseWrapper

#: Values for a statement's placeholders: %s by position, %(name)s by name.
Params = Sequence[Any] | Mapping[str, Any]

#: Statements remembered as checked; then all are checked again. They are constants of the code, so
#: there are some hundred.
MAX_CHECKED = 1_000


class Row(msgspec.Struct, frozen=True):
    """Base of row classes. A struct, as it is built in a twentieth of a frozen dataclass's time."""


R = TypeVar("R", bound=Row)
R1 = TypeVar("R1", bound=Row)
R2 = TypeVar("R2", bound=Row)
R3 = TypeVar("R3", bound=Row)
T = TypeVar("T")

#: Puts the values of a driver's tuple in the order of the row's fields.
_Reorder = Callable[[tuple[object, ...]], tuple[object, ...]]
#: By row class and statement; None where the columns are in the order of the fields.
_checked: dict[tuple[type[Row], str], _Reorder | None] = {}


class RowMismatchError(TypeError):
    """A statement's columns are not the fields of its row class."""


@dataclass(frozen=True, slots=True)
class Statement(Generic[R]):
    """A statement, its parameters, and the class of its rows."""

    row: type[R]
    sql: str
    params: Params = ()
    #: It is run often: see `fetch_prepared`.
    is_prepared: bool = False

    def fetch(self) -> list[R]:
        """Run the statement by itself. Raises django.db.Error."""
        fetch = fetch_prepared if self.is_prepared else fetch_rows
        return fetch(self.row, self.sql, self.params)


def fetch_rows(row: type[R], sql: str, params: Params = ()) -> list[R]:
    """Run a statement and return all its rows. Raises django.db.Error and RowMismatchError."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return _rows(cursor, row, sql)


def fetch_prepared(row: type[R], sql: str, params: Params = ()) -> list[R]:
    """`fetch_rows` of a statement that is run many times a second, see `prepared_cursor`."""
    with prepared_cursor() as cursor:
        cursor.execute(sql, params)
        return _rows(cursor, row, sql)


def prepared_cursor() -> CursorWrapper:
    """A cursor for statements that are run many times a second: with DATABASE_PREPARED_STATEMENTS
    they are parsed and planned once a connection, which takes ten times as long as to run them."""
    return cast("DatabaseWrapper", connection).prepared_cursor()


def fetch_column(kind: type[T], sql: str, params: Params = ()) -> list[T]:
    """Run a statement whose rows have one column, never NULL, and return the values.

    Raises django.db.Error, and RowMismatchError unless the first row is one value of this kind.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[T, ...]] = cursor.fetchall()
    if rows and (len(rows[0]) != 1 or not isinstance(rows[0][0], kind)):
        raise RowMismatchError(f"not one column of {kind.__name__}: {sql.strip()}")
    return [row[0] for row in rows]


def fetch_tuples(sql: str, params: Params = ()) -> list[tuple[object, ...]]:
    """Run a statement with columns chosen by the caller, as those of users' tables are, and
    return the driver's tuples. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows


def execute(sql: str, params: Params = ()) -> int:
    """Run a statement whose rows are not wanted; returns how many it found or changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        affected: int = cursor.rowcount
    return affected


@overload
def fetch_each(first: Statement[R1], second: Statement[R2], /) -> tuple[list[R1], list[R2]]: ...
@overload
def fetch_each(
    first: Statement[R1], second: Statement[R2], third: Statement[R3], /
) -> tuple[list[R1], list[R2], list[R3]]: ...
def fetch_each(*statements: Statement[Any]) -> tuple[list[Any], ...]:
    """Run several statements in one round trip, which costs more than most statements do.

    Where statements are prepared they cost less one by one.
    """
    if settings.DATABASE_PREPARED_STATEMENTS:
        return tuple(each.fetch() for each in statements)
    with connection.cursor() as cursor:
        cursor.execute("; ".join(cursor.mogrify(each.sql, each.params) for each in statements))
        results = [_rows(cursor, statements[0].row, statements[0].sql)]
        for statement in statements[1:]:
            cursor.nextset()
            results.append(_rows(cursor, statement.row, statement.sql))
    return tuple(results)


def _rows(cursor: CursorWrapper, row: type[R], sql: str) -> list[R]:
    """The rows of the result that the cursor is at."""
    try:
        reorder = _checked[row, sql]
    except KeyError:
        reorder = _check(row, [column.name for column in cursor.description or ()])
        if len(_checked) >= MAX_CHECKED:
            _checked.clear()
        _checked[row, sql] = reorder
    tuples: list[tuple[object, ...]] = cursor.fetchall()
    return list(starmap(row, map(reorder, tuples) if reorder else tuples))


def _check(row: type[Row], columns: Sequence[str]) -> _Reorder | None:
    """Raise RowMismatchError unless the columns are the row's fields, each once."""
    fields = row.__struct_fields__
    problems = [
        *(f"no column for the field {field!r}" for field in fields if field not in columns),
        *(f"no field for the column {column!r}" for column in columns if column not in fields),
        *(f"the column {column!r} twice" for column in fields if columns.count(column) > 1),
    ]
    if problems:
        raise RowMismatchError(f"{row.__name__}: {', '.join(problems)}")
    if tuple(columns) == fields:
        return None
    return itemgetter(*(columns.index(field) for field in fields))
