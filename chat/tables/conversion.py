"""A change of a field's kind while it is under way: writers fill the new column as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pydantic import JsonValue

from chat.tables.models import Field
from chat.tables.texts import text_parser, text_writer
from chat.tables.values import Cell, UnfitValueError

#: Raises UnfitValueError.
Convert = Callable[[Cell], Cell]


def pending_field(field: Field) -> Field | None:
    """The field as it will be, an unsaved row; None: its kind does not change now."""
    if not field.is_retyping:
        return None
    state: dict[str, JsonValue] = field.retype or {}
    return Field(
        table_id=field.table_id,
        name=field.name,
        kind=cast("str", state["kind"]),
        options=state["options"],
        column=cast("str", state["column"]),
    )


def converter(before: Field, after: Field) -> Convert:
    """Return the function that makes a cell of the new kind, by way of the text of the old one."""
    write, parse = text_writer(before), text_parser(after)
    return lambda cell: None if cell is None else parse(write(cell))


def converted_or_empty(convert: Convert, cell: Cell) -> Cell:
    """The converted cell, an empty one if it does not fit."""
    try:
        return convert(cell)
    except UnfitValueError:
        return None


class WrittenColumns:
    """The columns that writing some fields sets: of a field whose kind changes, both."""

    def __init__(self, fields: list[Field]) -> None:
        self.kinds: dict[str, str] = {}
        self._pending: dict[int, tuple[str, Convert]] = {}
        self._columns = [(field.pk, field.column) for field in fields]
        for field in fields:
            self.kinds[field.column] = field.kind
            if (after := pending_field(field)) is not None:
                self.kinds[after.column] = after.kind
                self._pending[field.pk] = after.column, converter(field, after)

    def values(self, cells: dict[int, Cell]) -> dict[str, Cell]:
        """The value of each column, of cells by the ids of their fields."""
        values = {name: cells.get(pk) for pk, name in self._columns}
        for pk, (name, convert) in self._pending.items():
            values[name] = converted_or_empty(convert, cells.get(pk))
        return values
