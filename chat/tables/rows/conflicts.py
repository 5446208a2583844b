"""Optimistic concurrency: which cells of an operation others have changed since they were seen."""

from __future__ import annotations

from pydantic import JsonValue

from chat.tables.rows.operations import Conflict, Delete, Schema, Step, Update
from chat.tables.rows.reading import StoredRow
from chat.tables.values import Cell, UnfitValueError, to_json


def find_conflicts(step: Step, row: StoredRow, schema: Schema) -> list[Conflict]:
    """Return the conflicts of an operation with the present row, and take their cells out of it.

    A cell is in conflict if it is neither as the writer saw it nor as the writer wants it.
    """
    operation = step.operation
    if not isinstance(operation, Update | Delete):
        return []
    is_outdated = operation.version is not None and operation.version != row.version
    if isinstance(operation, Delete):
        return [_conflict(row, None, None)] if is_outdated else []
    found: list[Conflict] = []
    for pk in list(step.cells):
        field = schema.by_id[pk]
        present = to_json(row.cells[pk])
        if to_json(step.cells[pk]) == present:
            continue
        was_seen = field.key not in operation.was or _is_equal(
            schema, pk, operation.was[field.key], present
        )
        if is_outdated or not was_seen:
            del step.cells[pk]
            found.append(_conflict(row, field.key, present))
    return found


def _is_equal(schema: Schema, pk: int, was: JsonValue, present: JsonValue) -> bool:
    """Whether a cell is as it was seen. What was seen may be written otherwise, or not fit the
    field any more."""
    if was == present:
        return True
    try:
        cell: Cell = schema.parse(schema.by_id[pk], was)
    except UnfitValueError:
        return False
    return to_json(cell) == present


def _conflict(row: StoredRow, key: str | None, value: JsonValue) -> Conflict:
    return {"row": row.id, "version": row.version, "field": key, "value": value}
