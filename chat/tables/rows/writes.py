"""Carries out the checked steps of a batch, and says what undoes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from pydantic import JsonValue

from chat.tables.conversion import WrittenColumns
from chat.tables.rows import statements
from chat.tables.rows.answers import write_answers
from chat.tables.rows.links import write_links
from chat.tables.rows.operations import Create, Delete, Operation, Schema, Step, Update
from chat.tables.rows.reading import StoredRow
from chat.tables.values import Cell, to_json

#: Bytes of an inverse that is kept. A larger batch cannot be undone.
MAX_INVERSE_BYTES = 8_388_608

Present = Mapping[int, StoredRow]


def update(
    table_id: int, schema: Schema, steps: Sequence[Step], present: Present, user_id: int | None
) -> None:
    """Set the cells of updated rows. A statement for all of them, two for each link field, and one
    for each AI field and set of its outputs."""
    if not steps:
        return
    touched = {pk for step in steps for pk in step.cells}
    columns = WrittenColumns([field for field in schema.stored if field.pk in touched])
    rows: list[dict[str, Cell]] = []
    for step in steps:
        row = present[cast("Update", step.operation).row_id]
        # The rows are locked: cells that this row keeps are written as they are.
        rows.append({"id": row.id, **columns.values({**row.cells, **step.cells})})
        step.end("updated", row.id, row.version + 1)
    statements.update_rows(table_id, columns.kinds, rows)
    _write_links(schema, steps)
    write_answers(user_id, schema.by_id, {step.row_id: step.cells for step in steps})


def create(table_id: int, schema: Schema, steps: Sequence[Step], user_id: int | None) -> None:
    """Insert new rows. Three statements, two for each link field, and one for each AI field and set
    of its outputs."""
    if not steps:
        return
    touched = {pk for step in steps for pk in step.cells}
    columns = WrittenColumns([field for field in schema.stored if field.pk in touched])
    operations = [cast("Create", step.operation) for step in steps]
    fresh = iter(
        statements.new_ids(table_id, sum(operation.row_id is None for operation in operations))
    )
    rows: list[dict[str, Cell]] = []
    for step, operation in zip(steps, operations, strict=True):
        row_id = next(fresh) if operation.row_id is None else operation.row_id
        place: dict[str, Cell] = {} if operation.pos is None else {"pos": operation.pos}
        rows.append({"id": row_id, **place, **columns.values(step.cells)})
        step.end("created", row_id, 1)
    statements.insert_rows(table_id, columns.kinds, rows)
    _write_links(schema, steps)
    # A row that comes back still has its answers.
    new = {step.row_id: step.cells for step in steps if _is_new(step.operation)}
    write_answers(user_id, schema.by_id, new)


def _is_new(operation: Operation) -> bool:
    return isinstance(operation, Create) and operation.row_id is None


def delete(table_id: int, steps: Sequence[Step]) -> None:
    """Delete rows. Their links stay, for the case that they come back."""
    if not steps:
        return
    ids = [cast("Delete", step.operation).row_id for step in steps]
    statements.delete_rows(table_id, ids)
    for step, row_id in zip(steps, ids, strict=True):
        step.end("deleted", row_id, None)


def _write_links(schema: Schema, steps: Sequence[Step]) -> None:
    for field in schema.links:
        cells = {
            step.row_id: cast("list[int] | None", step.cells[field.pk])
            for step in steps
            if field.pk in step.cells
        }
        if cells:
            write_links(field, cells)


# --- Undoing ------------------------------------------------------------------------------------
def inverse(schema: Schema, steps: Sequence[Step], present: Present) -> dict[str, JsonValue] | None:
    """What undoes these steps, as `Change.inverse` has it; None if it is too large to be kept."""
    undone: dict[str, list[JsonValue]] = {"create": [], "update": [], "delete": []}
    for step in steps:
        match step.operation:
            case Create():
                undone["delete"].append(step.row_id)
            case Delete(row_id=row_id):
                row = present[row_id]
                values = {
                    key: cell for key, cell in row.values(schema.fields).items() if cell is not None
                }
                undone["create"].append(
                    cast("JsonValue", {"id": row.id, "pos": row.pos, "values": values})
                )
            case Update(row_id=row_id):
                undone["update"].append(_inverse_update(schema, step, present[row_id]))
    if len(msgspec.json.encode(undone)) > MAX_INVERSE_BYTES:
        return None
    return cast("dict[str, JsonValue]", undone)


def _inverse_update(schema: Schema, step: Step, row: StoredRow) -> JsonValue:
    keys = {pk: schema.by_id[pk].key for pk in step.cells}
    values = {keys[pk]: to_json(row.cells[pk]) for pk in step.cells}
    was = {keys[pk]: to_json(cell) for pk, cell in step.cells.items()}
    return {"id": row.id, "values": values, "was": was}
