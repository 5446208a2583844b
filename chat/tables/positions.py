"""The order by hand: each row has a place, a number between those of its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import DatabaseError, transaction
from pydantic import JsonValue

from aily.database.rows import Row, execute, fetch_rows
from aily.problems import InvalidRequest, NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import ddl
from chat.tables.changes import Author, Changed, record
from chat.tables.exceptions import TableBusy
from chat.tables.locks import share_table
from chat.tables.models import Table
from chat.tables.names import rows_table, statement

MAX_MOVED = 1_000
#: Where neighbours would be closer, all rows get whole numbers: 316 ms of 100,000 rows.
MIN_GAP = 1e-9

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0)) IS NULL"
_PLACES = "SELECT id, pos FROM {table} WHERE id = ANY(%s)"
#: The nearest row on one side of a place, those that are moved left out.
_BEFORE = """
SELECT id, pos FROM {table} WHERE (pos, id) < (%(pos)s, %(id)s) AND id <> ALL(%(moved)s)
 ORDER BY pos DESC, id DESC LIMIT 1
"""
_AFTER = """
SELECT id, pos FROM {table} WHERE (pos, id) > (%(pos)s, %(id)s) AND id <> ALL(%(moved)s)
 ORDER BY pos, id LIMIT 1
"""
_LAST = """
SELECT id, pos FROM {table} WHERE id <> ALL(%(moved)s) ORDER BY pos DESC, id DESC LIMIT 1
"""
_RENUMBER = """
UPDATE {table} t SET pos = placed.number
  FROM (SELECT id, row_number() OVER (ORDER BY pos, id) AS number FROM {table}) placed
 WHERE t.id = placed.id AND t.pos <> placed.number
"""
_MOVE = """
UPDATE {table} t SET pos = moved.pos
  FROM unnest(%s::bigint[], %s::float8[]) AS moved (id, pos) WHERE t.id = moved.id
"""


class Place(Row, frozen=True):
    id: int
    pos: float


@dataclass(frozen=True, slots=True)
class Target:
    """Directly before or after a row; neither: at the end."""

    before: int | None = None
    after: int | None = None


def move_rows(table: Table, author: Author, ids: Sequence[int], target: Target) -> int:
    """Move rows, in this order, to a place. Returns the table's revision.

    Raises InvalidRequest, NotFound and TableBusy.
    """
    if target.before is not None and target.after is not None:
        raise because(InvalidRequest, Reason("before_or_after"), field="after")
    if len(set(ids)) != len(ids):
        raise because(InvalidRequest, Reason("row_twice"), field="rows")
    if {target.before, target.after} & set(ids):
        raise because(InvalidRequest, Reason("row_moved_itself"), field="before")
    try:
        with transaction.atomic():
            share_table(table.pk)
            _lock_order(table)
            mover = _Mover(table, ids, target)
            old = mover.places_before()
            set_places(table, mover.new_places())
            return _record(table, author, old)
    except DatabaseError as error:
        if ddl.is_locked_out(error):
            raise TableBusy from None
        raise


def restore_places(table: Table, author: Author, places: Sequence[Place]) -> int | None:
    """Give rows the places that they had, as far as they are there. To be called in a transaction.

    Returns the revision; None: none of the rows is there.
    """
    share_table(table.pk)
    _lock_order(table)
    old = _places(table, [place.id for place in places])
    if not old:
        return None
    there = {place.id for place in old}
    set_places(table, [place for place in places if place.id in there])
    return _record(table, author, old)


def _lock_order(table: Table) -> None:
    """Let no other mover of the table compute places until the end of the transaction."""
    execute(_LOCK, [f"tables.move:{table.pk}"])


def _record(table: Table, author: Author, old: Sequence[Place]) -> int:
    inverse: list[JsonValue] = [{"id": place.id, "pos": place.pos} for place in old]
    done = Changed(row_ids=[place.id for place in old], inverse={"move": inverse})
    return record(table, author, done)


def set_places(table: Table, places: Sequence[Place]) -> None:
    move = statement(_MOVE, table=rows_table(table.pk))
    execute(move, [[place.id for place in places], [place.pos for place in places]])


def _places(table: Table, ids: Sequence[int]) -> list[Place]:
    return fetch_rows(Place, statement(_PLACES, table=rows_table(table.pk)), [list(ids)])


class _Mover:
    """Computes the places of moved rows."""

    def __init__(self, table: Table, ids: Sequence[int], target: Target) -> None:
        self._table, self._ids, self._target = table, ids, target

    def places_before(self) -> list[Place]:
        """The places that the rows have. Raises NotFound."""
        old = _places(self._table, self._ids)
        if gone := set(self._ids) - {place.id for place in old}:
            raise because(NotFound, Reason.of("no_such_row", id=min(gone)), field="rows")
        return old

    def new_places(self) -> list[Place]:
        places = self._between()
        if places is None:
            execute(statement(_RENUMBER, table=rows_table(self._table.pk)))
            places = self._between()
        if places is None:
            raise because(InvalidRequest, Reason("rows_do_not_fit"), field="rows")
        return places

    def _between(self) -> list[Place] | None:
        """Evenly between the neighbours; None: these are too close."""
        low, high = self._neighbours()
        count = len(self._ids) + 1
        if low is None:
            low = high - count if high is not None else 0.0
        if high is None:
            high = low + count
        step = (high - low) / count
        if step < MIN_GAP or low + step <= low or high - step >= high:
            return None
        return [
            Place(row_id, low + step * number) for number, row_id in enumerate(self._ids, start=1)
        ]

    def _neighbours(self) -> tuple[float | None, float | None]:
        if self._target.before is not None:
            anchor = self._anchor(self._target.before, "before")
            found = self._find(_BEFORE, anchor)
            return (found.pos if found else None), anchor.pos
        if self._target.after is not None:
            anchor = self._anchor(self._target.after, "after")
            found = self._find(_AFTER, anchor)
            return anchor.pos, (found.pos if found else None)
        last = self._find(_LAST, None)
        return (last.pos if last else None), None

    def _anchor(self, row_id: int, where: str) -> Place:
        found = _places(self._table, [row_id])
        if not found:
            raise because(NotFound, Reason.of("no_such_row", id=row_id), field=where)
        return found[0]

    def _find(self, template: str, anchor: Place | None) -> Place | None:
        parameters: dict[str, object] = {"moved": list(self._ids)}
        if anchor is not None:
            parameters |= {"pos": anchor.pos, "id": anchor.id}
        found = fetch_rows(Place, statement(template, table=rows_table(self._table.pk)), parameters)
        return found[0] if found else None
