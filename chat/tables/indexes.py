"""Makes indexes for what is often sorted or filtered by, and drops those that nobody uses.

A periodic job: it looks at the uses of today and yesterday. An index is built CONCURRENTLY, so that
writers go on, in a statement of its own outside of any transaction. Turns may overlap: the row of
an index, of which there is one, is inserted before it is built.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone
from psycopg import sql

from aily.database.rows import execute
from aily.redis.errors import RedisUnavailable
from chat.tables.index_uses import MIN_ROWS, Use, read_uses
from chat.tables.models import Field, FieldIndex, Kind, Table
from chat.tables.names import SCHEMA, column, rows_table, statement

logger = logging.getLogger(__name__)

#: Uses of one day after which an index is worth its cost.
MIN_USES = 3
MAX_INDEXES = 8
#: An index that was not used for so long is dropped.
KEPT = timedelta(days=30)
#: New indexes of one turn of the job.
MAX_A_TURN = 4
#: Longest build of one index.
BUILD_TIME = timedelta(minutes=15)

#: Kinds whose values are small enough for every row to fit into an index: a text could be of any
#: length, and then could not be stored any more. Choices are sorted by their place, not their id.
_ORDERED = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.DATE, Kind.DATETIME})
#: For equality a hash does, which takes values of any length.
_HASHED = frozenset({Kind.TEXT, Kind.LONG_TEXT, Kind.URL, Kind.EMAIL})

_TEMPLATES = {
    "asc": "CREATE INDEX CONCURRENTLY {name} ON {table} ({column} ASC NULLS LAST, id)",
    "desc": "CREATE INDEX CONCURRENTLY {name} ON {table} ({column} DESC NULLS LAST, id)",
    "equal": "CREATE INDEX CONCURRENTLY {name} ON {table} USING hash ({column})",
}
_DROP = "DROP INDEX CONCURRENTLY IF EXISTS {name}"


def keep_indexes() -> None:
    """Take a turn: note uses, drop what is old, make what is missing. Raises nothing that a later
    turn cures."""
    try:
        uses = _recent_uses()
    except RedisUnavailable:
        return
    with _long_statements():
        _note(uses)
        _drop_unused()
        _make(uses)


def _recent_uses() -> Counter[Use]:
    """The uses of today and yesterday, each day's for itself."""
    now = timezone.now()
    found: Counter[Use] = Counter()
    for day in (now, now - timedelta(days=1)):
        for use, count in read_uses(f"{day:%Y%m%d}").items():
            found[use] = max(found[use], count)
    return found


@contextmanager
def _long_statements() -> Iterator[None]:
    """Statements of this connection may take BUILD_TIME, instead of DATABASE_ANSWER_SECONDS."""
    connection.ensure_connection()
    driver = connection.connection
    if driver.answer_seconds is not None:
        # On this connection alone, which goes back to the pool with the bound of its class.
        driver.answer_seconds = BUILD_TIME.total_seconds()
    try:
        yield
    finally:
        vars(driver).pop("answer_seconds", None)


def _note(uses: Counter[Use]) -> None:
    """Keep the day of the last use in the rows, one statement for each index that was used."""
    today = timezone.now()
    used = [
        index.pk
        for index in FieldIndex.objects.filter(table__in={use.table for use in uses})
        if any(
            Use(index.table_id, f"f{index.field_id}", order) in uses
            for order in (index.order, "equal")
        )
    ]
    FieldIndex.objects.filter(pk__in=used).update(used_at=today)


# --- Dropping -----------------------------------------------------------------------------------
def _drop_unused() -> None:
    """Drop old indexes, those whose field has another column now, and those half-built ones that
    nobody can be building any more."""
    for index in FieldIndex.objects.select_related("field", "table"):
        is_old = index.used_at < timezone.now() - KEPT
        is_gone = index.field.deleted_at is not None or index.field.column != index.column
        is_broken = not index.is_built and index.created_at < timezone.now() - BUILD_TIME
        if is_old or is_gone or is_broken:
            _drop(index)


def _drop(index: FieldIndex) -> None:
    try:
        execute(statement(_DROP, name=_name(index)))
    except DatabaseError as error:
        logger.warning("index %s cannot be dropped now: %s", index, error)
        return
    index.delete()


def _name(index: FieldIndex) -> sql.Identifier:
    return sql.Identifier(SCHEMA, f"x{index.pk}")


# --- Making -------------------------------------------------------------------------------------
def _make(uses: Counter[Use]) -> None:
    wanted = [use for use, count in uses.most_common() if count >= MIN_USES]
    made = 0
    for use in wanted:
        if made >= MAX_A_TURN:
            return
        made += _make_one(use)


def _make_one(use: Use) -> bool:
    """Make the index of one use, unless it is there, or cannot be."""
    field = _field(use)
    if field is None:
        return False
    # Numbers and dates are found by equality in an index of their order as well.
    order = "asc" if use.order == "equal" and field.kind in _ORDERED else use.order
    present = FieldIndex.objects.filter(table=field.table)
    if present.count() >= MAX_INDEXES or present.filter(field=field, order=order).exists():
        return False
    return _build(field.table, field, order)


def _field(use: Use) -> Field | None:
    """The field, if it can have such an index."""
    number = use.field.removeprefix("f")
    if not number.isdigit():
        return None
    field = Field.objects.select_related("table").filter(pk=int(number), deleted_at=None).first()
    if field is None or field.table_id != use.table or not field.is_stored:
        return None
    if field.table.deleted_at is not None or field.table.row_count < MIN_ROWS:
        return None
    kinds = _ORDERED | _HASHED if use.order == "equal" else _ORDERED
    return field if Kind(field.kind) in kinds else None


def _build(table: Table, field: Field, order: str) -> bool:
    """The row first: what a death leaves half-built is dropped by the next turn."""
    try:
        index = FieldIndex.objects.create(
            table=table, field=field, order=order, column=field.column
        )
    except IntegrityError:
        return False
    build = statement(
        _TEMPLATES[order],
        name=sql.Identifier(f"x{index.pk}"),
        table=rows_table(table.pk),
        column=column(field.column),
    )
    try:
        execute(build)
    except DatabaseError as error:
        logger.warning("index %s cannot be made now: %s", index, error)
        _drop(index)
        return False
    FieldIndex.objects.filter(pk=index.pk).update(is_built=True)
    return True
