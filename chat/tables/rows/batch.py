"""Writing rows: a batch of operations in one transaction.

Its statements do not depend on the number of rows. Writers of one table work side by side: each
locks its own rows, in the order of their ids, and the table's revision only at the end. They share
the lock of the table's row, which a change of the fields takes for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from django.db import DatabaseError, transaction
from pydantic import JsonValue

from aily.database.rows import execute
from aily.problems import InvalidRequest, NotFound, Problem
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import ddl
from chat.tables.changes import Author, Changed, record
from chat.tables.exceptions import CellConflict, TableBusy
from chat.tables.fields import live_fields
from chat.tables.locks import share_table
from chat.tables.models import Field, Table
from chat.tables.rows import writes
from chat.tables.rows.conflicts import find_conflicts
from chat.tables.rows.links import hidden_fields, linked_tables, missing_rows
from chat.tables.rows.operations import (
    Create,
    Delete,
    Operation,
    Outcome,
    Schema,
    Step,
    Update,
    Upsert,
)
from chat.tables.rows.reading import StoredRow, find_by_key, load_rows
from chat.tables.values import Cell, to_json

MAX_OPERATIONS = 1_000

_LOCK_KEY = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0)) IS NULL"


@dataclass(frozen=True, slots=True)
class Batch:
    operations: Sequence[Operation]
    #: All or nothing; otherwise each operation for itself.
    is_atomic: bool = True
    #: The key of the field that names the rows of upserts.
    key: str | None = None
    #: The request has one operation and no list of them: errors name its fields alone.
    is_single: bool = False
    #: Gives back what was there: links to rows that the author may not read are no news to them.
    is_undo: bool = False


@dataclass(frozen=True, slots=True)
class BatchResult:
    #: The table's revision; None: nothing was changed.
    rev: int | None
    outcomes: list[Outcome]


def apply_batch(table: Table, author: Author, batch: Batch) -> BatchResult:
    """Carry out a batch in a transaction.

    Raises InvalidRequest, InvalidValue, CellConflict, NotFound, TableFull and TableBusy. If the
    batch is not atomic, problems of single operations are in their outcomes.
    """
    if len(batch.operations) > MAX_OPERATIONS:
        raise because(
            InvalidRequest,
            Reason.of("too_many_operations", limit=MAX_OPERATIONS),
            field="operations",
        )
    try:
        with transaction.atomic():
            return _Writer(table, author, batch).run()
    except DatabaseError as error:
        if ddl.is_locked_out(error):
            raise TableBusy from None
        raise


def lock_key(field: Field) -> None:
    """Let no other upsert by this field run until the end of the transaction: two would each
    insert the row that neither has found."""
    execute(_LOCK_KEY, [f"tables.upsert:{field.pk}"])


class _Writer:
    """One batch, from its operations to their outcomes."""

    def __init__(self, table: Table, author: Author, batch: Batch) -> None:
        self._table = table
        self._author = author
        self._batch = batch
        share_table(table.pk)
        self._schema = Schema(live_fields(table.pk))
        #: Ids of written link fields, to tables that the author may not read.
        self._hidden: set[int] = set()
        self._steps = [
            Step(operation, "" if batch.is_single else f"operations.{index}")
            for index, operation in enumerate(batch.operations)
        ]

    def run(self) -> BatchResult:
        for step in self._steps:
            self._check(step)
        self._find_upserted()
        self._check_links()
        self._refuse_repeated()
        present = self._load()
        for step in self._open():
            self._compare(step, present)
        self._raise_conflicts()
        rev = self._write(present)
        return BatchResult(rev, [cast("Outcome", step.outcome) for step in self._steps])

    def _open(self) -> list[Step]:
        """The steps that have not failed."""
        return [step for step in self._steps if step.outcome is None]

    def _fail(self, step: Step, problem: Problem) -> None:
        if self._batch.is_atomic:
            raise problem
        step.fail(problem)

    # --- Checking -----------------------------------------------------------------------------
    def _check(self, step: Step) -> None:
        if isinstance(step.operation, Delete):
            return
        try:
            self._schema.parse_values(step, step.operation.values)
        except InvalidRequest as problem:
            self._fail(step, problem)

    def _find_upserted(self) -> None:
        """Turn each upsert into an update or the creation of a row."""
        steps = [step for step in self._open() if isinstance(step.operation, Upsert)]
        if not steps:
            return
        field = self._schema.key_field(self._batch.key)
        lock_key(field)
        keys = [step.cells.get(field.pk) for step in steps]
        wanted = [key for key in keys if key is not None]
        found: dict[JsonValue, list[int]] = {}
        for row_id, key in find_by_key(self._table.pk, field, wanted):
            found.setdefault(to_json(key), []).append(row_id)
        seen: set[JsonValue] = set()
        for step, key in zip(steps, keys, strict=True):
            self._resolve_upsert(step, field, key, found, seen)

    def _resolve_upsert(
        self,
        step: Step,
        field: Field,
        key: Cell,
        found: dict[JsonValue, list[int]],
        seen: set[JsonValue],
    ) -> None:
        values = cast("Upsert", step.operation).values
        name, where = to_json(key), step.path("values", field.key)
        ids = found.get(name, [])
        if key is None:
            self._fail(step, because(InvalidRequest, Reason("key_empty"), field=where))
        elif name in seen:
            self._fail(step, because(InvalidRequest, Reason("key_twice"), field=where))
        elif len(ids) > 1:
            reason = Reason.of("key_of_rows", count=len(ids))
            self._fail(step, because(InvalidRequest, reason, field=where))
        else:
            step.operation = Update(ids[0], values) if ids else Create(values)
        seen.add(name)

    def _check_links(self) -> None:
        """Refuse links to rows that do not exist. A query for each link field that is written.

        For an author who may not read the linked table it has no rows, except those that the cell
        links to already (`_check_kept_links`).
        """
        written = [
            field
            for field in self._schema.links
            if any(step.cells.get(field.pk) for step in self._open())
        ]
        tables = linked_tables(written)
        if not self._batch.is_undo:
            self._hidden = hidden_fields(written, self._author.user_id, tables)
        for field in written:
            steps = [step for step in self._open() if step.cells.get(field.pk)]
            if field.pk in self._hidden:
                steps = [step for step in steps if isinstance(step.operation, Create)]
            wanted = {other for step in steps for other in _ids(step.cells[field.pk])}
            missing = wanted if field.pk in self._hidden else missing_rows(field, wanted, tables)
            for step in steps:
                self._refuse_links(step, field, missing.intersection(_ids(step.cells[field.pk])))

    def _check_kept_links(self, step: Step, row: StoredRow) -> None:
        for field in self._schema.links:
            if field.pk in self._hidden and step.cells.get(field.pk):
                present = _ids(row.cells[field.pk])
                self._refuse_links(step, field, set(_ids(step.cells[field.pk])) - set(present))

    def _refuse_links(self, step: Step, field: Field, missing: set[int]) -> None:
        if missing:
            reason = Reason.of("no_such_linked_row", field=field.name, id=min(missing))
            path = step.path("values", field.key)
            self._fail(step, because(InvalidRequest, reason, field=path))

    def _refuse_repeated(self) -> None:
        seen: set[int] = set()
        for step in self._open():
            if not isinstance(step.operation, Update | Delete):
                continue
            if step.operation.row_id in seen:
                twice = because(InvalidRequest, Reason("row_twice"), field=step.path("id"))
                self._fail(step, twice)
            seen.add(step.operation.row_id)

    # --- Comparing ----------------------------------------------------------------------------
    def _load(self) -> dict[int, StoredRow]:
        """Lock the rows that are updated or deleted, and load what the batch needs of them."""
        ids = [
            step.operation.row_id
            for step in self._open()
            if isinstance(step.operation, Update | Delete)
        ]
        if not ids:
            return {}
        fields = self._schema.fields
        if not any(isinstance(step.operation, Delete) for step in self._open()):
            touched = {pk for step in self._open() for pk in step.cells}
            fields = [field for field in fields if field.pk in touched]
        return load_rows(self._table.pk, fields, ids, is_locked=True)

    def _compare(self, step: Step, present: dict[int, StoredRow]) -> None:
        """Leave only the cells that change, and those alone that others have not changed."""
        operation = step.operation
        if not isinstance(operation, Update | Delete):
            return
        row = present.get(operation.row_id)
        if row is None:
            reason = Reason.of("no_such_row", id=operation.row_id)
            self._fail(step, because(NotFound, reason, field=step.path("id")))
            return
        self._check_kept_links(step, row)
        if step.outcome is not None:
            return
        step.conflicts = find_conflicts(step, row, self._schema)
        if isinstance(operation, Delete):
            if step.conflicts:
                step.end("conflict", row.id, row.version)
            return
        for pk, cell in list(step.cells.items()):
            if to_json(cell) == to_json(row.cells[pk]):
                del step.cells[pk]
        if not step.cells:
            step.end("conflict" if step.conflicts else "unchanged", row.id, row.version)

    def _raise_conflicts(self) -> None:
        if not self._batch.is_atomic:
            return
        found = [conflict for step in self._steps for conflict in step.conflicts]
        if found:
            raise CellConflict(found)

    # --- Writing ------------------------------------------------------------------------------
    def _write(self, present: dict[int, StoredRow]) -> int | None:
        steps = self._open()
        if not steps:
            return None
        creates = [step for step in steps if isinstance(step.operation, Create)]
        updates = [step for step in steps if isinstance(step.operation, Update)]
        deletes = [step for step in steps if isinstance(step.operation, Delete)]
        user_id = self._author.user_id
        writes.update(self._table.pk, self._schema, updates, present, user_id)
        writes.create(self._table.pk, self._schema, creates, user_id)
        writes.delete(self._table.pk, deletes)
        fields = {pk for step in updates for pk in step.cells}
        changed = Changed(
            row_ids=[step.row_id for step in steps],
            field_ids=[] if creates or deletes else sorted(fields),
            added=len(creates) - len(deletes),
            inverse=writes.inverse(self._schema, steps, present),
        )
        return record(self._table, self._author, changed)


def _ids(cell: Cell) -> list[int]:
    return cast("list[int]", cell or [])
