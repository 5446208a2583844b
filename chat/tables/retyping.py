"""Changing the kind of a field, a batch of rows at a time, so that nobody waits for long.

A new column is filled while writers fill both (chat/tables/conversion.py). Then the field takes the
new column, and the old one goes to the trash as a field of its own, from where it can be restored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import cast

import msgspec
from django.db import DatabaseError, transaction
from django.utils import timezone
from pydantic import JsonValue

from aily.database.rows import execute, fetch_column, fetch_tuples
from aily.problems import Conflict, InvalidRequest, NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import ddl
from chat.tables.changes import Author, Changed, record
from chat.tables.conversion import converter, pending_field
from chat.tables.exceptions import TableBusy
from chat.tables.fields import free_name, get_live_field, live_fields, require_room, trim_trash
from chat.tables.locks import share_table
from chat.tables.models import ChangeKind, Field, Kind, Table
from chat.tables.names import column, rows_table, statement
from chat.tables.options import MAX_CHOICES, Options, check_options
from chat.tables.values import Cell, UnfitValueError, database_reader

logger = logging.getLogger(__name__)

#: Rows of one transaction: it takes some 50 ms.
BATCH_ROWS = 2_000
#: For how long the request itself converts; the scheduled job does the rest.
REQUEST_SECONDS = 1.0
#: For how long one turn of the job converts.
SCHEDULED_SECONDS = 20.0
#: Fields of one table whose kinds change at the same time: each has two columns meanwhile.
MAX_AT_ONCE = 5
#: Values of the report that did not fit.
MAX_EXAMPLES = 100
MAX_EXAMPLE_CHARS = 200

_TEXTS = frozenset({Kind.TEXT, Kind.LONG_TEXT, Kind.URL, Kind.EMAIL})
_FREE_TEXTS = frozenset({Kind.TEXT, Kind.LONG_TEXT})
#: Kinds whose values are the same texts in PostgreSQL and in chat/tables/texts.py.
_NAMED_ALIKE = frozenset({
    Kind.TEXT, Kind.LONG_TEXT, Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.DATE, Kind.URL,
    Kind.EMAIL,
})  # fmt: skip

_READ = """
SELECT id, {column} FROM {table} WHERE id > %s ORDER BY id LIMIT %s FOR NO KEY UPDATE
"""
_FILL = """
UPDATE {table} AS present SET {column} = new.value
  FROM json_to_recordset(%s::json) AS new(id bigint, value {type}) WHERE present.id = new.id
"""
_DISTINCT = """
SELECT DISTINCT left({column}::text, 200) FROM {table} WHERE {column} IS NOT NULL LIMIT %s
"""


# --- Beginning ----------------------------------------------------------------------------------
def change_kind(row: Field, kind: str, options: Mapping[str, JsonValue], author: Author) -> Field:
    """Begin to change the kind of a field, and finish it if that takes no longer than a second.

    Raises InvalidRequest, Conflict, TableFull and TableBusy.
    """
    if kind == Kind.LINK or not row.is_stored:
        raise because(InvalidRequest, Reason("kind_fixed"), field="kind")

    def begin(table: Table) -> None:
        field = get_live_field(row.pk)
        if field.is_retyping:
            raise because(Conflict, Reason("kind_changing"), field="kind")
        if Field.objects.filter(table=table, is_retyping=True).count() >= MAX_AT_ONCE:
            raise because(Conflict, Reason.of("kinds_changing", limit=MAX_AT_ONCE), field="kind")
        if field.kind in _TEXTS and kind in _FREE_TEXTS:
            check_options(kind, options)
            _keep_column(table, field, kind, author)
            return
        require_room(table)
        name = f"{field.key}_{table.schema_rev}"
        field.retype = {
            "state": "running",
            "kind": kind,
            "options": check_options(kind, _with_choices(field, kind, options)),
            "column": name,
            "after": 0,
            "done": 0,
            "unfit": 0,
            "examples": [],
        }
        field.is_retyping = True
        ddl.add_column(table.pk, name, kind)
        field.save(update_fields=["retype", "is_retyping", "updated_at"])
        _record(table, field, author)

    ddl.change_schema(row.table_id, begin)
    convert_for(row.pk, REQUEST_SECONDS)
    return get_live_field(row.pk)


def _keep_column(table: Table, field: Field, kind: str, author: Author) -> None:
    """Change one kind of text into one that holds any text: the cells stay as they are."""
    report: Options = {"state": "done", "from": field.kind, "old_field": None}
    field.retype = {**report, "done": 0, "unfit": 0, "examples": []}
    field.kind, field.options = kind, {}
    field.save(update_fields=["kind", "options", "retype", "updated_at"])
    _record(table, field, author)


def _with_choices(field: Field, kind: str, options: Mapping[str, JsonValue]) -> Options:
    """The options. A select without choices gets the present values as its choices."""
    given = dict(options)
    if kind not in (Kind.SELECT, Kind.MULTI_SELECT) or "choices" in given:
        return given
    if field.kind in (Kind.SELECT, Kind.MULTI_SELECT):
        kept = cast("list[Options]", field.options.get("choices", []))
        return {**given, "choices": [{**choice, "id": None} for choice in kept]}
    if field.kind in _NAMED_ALIKE:
        distinct = statement(
            _DISTINCT, column=column(field.column), table=rows_table(field.table_id)
        )
        texts = fetch_column(str, distinct, [MAX_CHOICES + 1])
        names = _names(texts, is_list=kind == Kind.MULTI_SELECT)
        if len(names) > MAX_CHOICES:
            reason = Reason.of("too_many_values", limit=MAX_CHOICES)
            raise because(InvalidRequest, reason, field="kind")
        given["choices"] = list(names)
    return given


def _names(texts: list[str], *, is_list: bool) -> list[str]:
    parts = [part for text in texts for part in (text.split(",") if is_list else [text])]
    return sorted({part.strip() for part in parts if part.strip()})


def _record(table: Table, field: Field, author: Author) -> None:
    done = Changed(ChangeKind.FIELD, field_ids=[field.pk], changes_schema=True)
    record(table, author, done)


# --- Converting ---------------------------------------------------------------------------------
def convert_scheduled() -> int:
    """Go on with all changes of kinds for SCHEDULED_SECONDS. Returns how many have ended."""
    deadline = time.monotonic() + SCHEDULED_SECONDS
    ended = 0
    fields = Field.objects.filter(is_retyping=True, deleted_at=None, table__deleted_at=None)
    for field_id in list(fields.values_list("pk", flat=True)[:100]):
        ended += convert_for(field_id, max(deadline - time.monotonic(), 0))
    return ended


def convert_for(field_id: int, seconds: float) -> bool:
    """Convert batches of a field's rows for so long. Returns whether it has come to its end.

    If others hold the rows, the next turn goes on.
    """
    deadline = time.monotonic() + seconds
    try:
        while convert_batch(field_id):
            if time.monotonic() > deadline:
                return False
        return _finish(field_id)
    except (TableBusy, NotFound):
        return False
    except DatabaseError as error:
        if not ddl.is_locked_out(error):
            raise
        return False


def convert_batch(field_id: int) -> bool:
    """Convert the next rows, in one transaction. Returns whether there were any, or another process
    works on the field."""
    with transaction.atomic():
        field = Field.objects.filter(pk=field_id, is_retyping=True).first()
        if field is None:
            return False
        share_table(field.table_id)
        locked = Field.objects.select_for_update(skip_locked=True, no_key=True)
        field = locked.filter(pk=field_id, is_retyping=True).first()
        if field is None:
            return False
        return bool(_convert_rows(field))


def _convert_rows(field: Field) -> int:
    after = cast("Field", pending_field(field))
    state: dict[str, JsonValue] = field.retype or {}
    table, reader = rows_table(field.table_id), database_reader(field)
    read = statement(_READ, column=column(field.column), table=table)
    convert = converter(field, after)
    rows = fetch_tuples(read, [state["after"], BATCH_ROWS])
    values: list[dict[str, Cell]] = []
    examples = cast("list[JsonValue]", state["examples"])
    unfit = 0
    for row_id, value in rows:
        cell = reader(value)
        try:
            values.append({"id": cast("int", row_id), "value": convert(cell)})
        except UnfitValueError as error:
            unfit += 1
            if len(examples) < MAX_EXAMPLES:
                shown = str(cell)[:MAX_EXAMPLE_CHARS]
                examples.append({"row": cast("int", row_id), "value": shown, "reason": str(error)})
    if not rows:
        return 0
    kind = ddl.column_type(after.kind)
    fill = statement(_FILL, table=table, column=column(after.column), type=kind)
    execute(fill, [msgspec.json.encode(values).decode()])
    state["after"] = cast("int", rows[-1][0])
    state["done"] = cast("int", state["done"]) + len(rows)
    state["unfit"] = cast("int", state["unfit"]) + unfit
    Field.objects.filter(pk=field.pk).update(retype=state)
    return len(rows)


# --- Ending -------------------------------------------------------------------------------------
def _finish(field_id: int) -> bool:
    """Let the field take its new column, and move the old one to the trash.

    Rows that were created since the last batch have a value in both.
    """
    field = Field.objects.filter(pk=field_id, is_retyping=True, deleted_at=None).first()
    if field is None:
        return False

    def switch(table: Table) -> bool:
        field = Field.objects.filter(pk=field_id, is_retyping=True, deleted_at=None).first()
        if field is None:
            return False
        if _convert_rows(field):
            return False  # it had been locked by another process
        after, state = cast("Field", pending_field(field)), cast("Options", field.retype)
        old = _trash_old_column(table, field)
        trim_trash(table)
        field.kind, field.options, field.column = after.kind, after.options, after.column
        report = {name: state[name] for name in ("done", "unfit", "examples")}
        field.retype = {"state": "done", "from": old.kind, "old_field": old.pk, **report}
        field.is_retyping = False
        field.save()
        _record(table, field, Author(None))
        return True

    return ddl.change_schema(field.table_id, switch)


def _trash_old_column(table: Table, field: Field) -> Field:
    taken = {other.name for other in live_fields(table.pk)}
    return Field.objects.create(
        table=table,
        name=free_name(field.name, taken),
        kind=field.kind,
        options=field.options,
        column=field.column,
        position=field.position,
        deleted_at=timezone.now(),
    )
