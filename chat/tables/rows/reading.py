"""Reading rows by their ids, with a number of queries that does not depend on how many they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, cast

from psycopg import sql
from pydantic import JsonValue

from aily.database.rows import fetch_column, fetch_tuples
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import Field, Kind
from chat.tables.names import column, rows_table, statement
from chat.tables.rows.answers import load_answers
from chat.tables.rows.links import read_links
from chat.tables.values import Cell, database_reader, json_writer, to_json

#: A row as JSON: `{"id": 1, "version": 3, "values": {"f12": "text"}}`.
RowJson = dict[str, JsonValue]

#: Bytes of the texts and JSON of the rows of one read: some hundred rows may have gigabytes.
MAX_READ_BYTES = 16_777_216

_READ = """
SELECT id, version, pos{columns} FROM {table}
 WHERE id = ANY(%(ids)s){bound} ORDER BY id{lock}
"""
# PostgreSQL gives the length of a long text without reading it.
_SIZE = "SELECT coalesce(sum({lengths}), 0)::bigint FROM {table} WHERE id = ANY(%(ids)s)"
#: What the driver returns that is no JSON.
_NO_JSON = (Decimal, date)
_BOUND = " AND ({size}) <= %(limit)s"
_SIZED = {
    Kind.TEXT: "octet_length({})",
    Kind.LONG_TEXT: "octet_length({})",
    Kind.JSON: "octet_length({}::text)",
}


@dataclass(slots=True)
class StoredRow:
    """A row of a table. `cells` by the id of their field; an empty one has None."""

    id: int
    version: int
    pos: float
    cells: dict[int, Cell]

    def values(self, fields: Iterable[Field]) -> dict[str, JsonValue]:
        """The cells of these fields, as they are in JSON."""
        return {field.key: to_json(self.cells.get(field.pk)) for field in fields}


def selected_columns(fields: Iterable[Field]) -> sql.Composed:
    """The columns of these fields for a SELECT after others: each with a comma before it."""
    return sql.SQL("").join(
        sql.SQL(", {}").format(sql.Identifier(field.column)) for field in fields
    )


def load_rows(
    table_id: int, fields: Sequence[Field], ids: Collection[int], *, is_locked: bool = False
) -> dict[int, StoredRow]:
    """Load rows by their ids; missing ones are left out. One query, and one for each link
    and AI field. Raises InvalidRequest if several rows have more than MAX_READ_BYTES.

    `is_locked`: until the end of the transaction, in the order of their ids, so that two writers
    of the same rows wait for each other and do not deadlock.
    """
    stored = [field for field in fields if field.is_stored]
    readers = [(field.pk, database_reader(field)) for field in stored]
    rows: dict[int, StoredRow] = {}
    for row_id, version, pos, *values in _fetch(table_id, stored, ids, is_locked=is_locked):
        cells = {pk: reader(value) for (pk, reader), value in zip(readers, values, strict=True)}
        rows[row_id] = StoredRow(row_id, version, pos, cells)
    links = [field for field in fields if field.kind == Kind.LINK]
    for field_id, by_row in read_links(links, rows).items():
        for row in rows.values():
            row.cells[field_id] = by_row.get(row.id)
    filled = [field for field in fields if field.ai_field_id is not None]
    answers = load_answers(filled, rows)
    for row in rows.values():
        row.cells.update(dict.fromkeys((field.pk for field in filled), None))
        row.cells.update(answers.get(row.id, {}))
    return rows


def rows_as_json(
    table_id: int, fields: Sequence[Field], ids: Collection[int]
) -> dict[int, RowJson]:
    """What `load_rows` has, as JSON, of fields that no AI field fills. 10,000 cells take a fifth
    of the time that StoredRow takes: the driver's values are JSON but for a few kinds."""
    stored = [field for field in fields if field.is_stored]
    keys = [field.key for field in stored]
    writers: dict[str, Callable[[Any], JsonValue]] = {
        field.key: write for field in stored if (write := json_writer(field.kind)) is not None
    }
    found = _fetch(table_id, stored, ids)
    for _, _, _, *cells in found[:1]:
        # Also of columns that have another type than the catalogue says: see check_tables.
        odd = [key for key, cell in zip(keys, cells, strict=True) if isinstance(cell, _NO_JSON)]
        writers = {**dict.fromkeys(odd, to_json), **writers}
    rows: dict[int, RowJson] = {}
    for row_id, version, _, *cells in found:
        values = dict(zip(keys, cells, strict=True))
        for key, write in writers.items():
            if (cell := values[key]) is not None:
                values[key] = write(cell)
        rows[row_id] = {"id": row_id, "version": version, "values": values}
    links = [field for field in fields if field.kind == Kind.LINK]
    linked = read_links(links, rows)
    for field in links:
        for row_id, row in rows.items():
            cast("dict[str, object]", row["values"])[field.key] = linked[field.pk].get(row_id)
    return rows


def _fetch(
    table_id: int, stored: Sequence[Field], ids: Collection[int], *, is_locked: bool = False
) -> list[tuple[Any, ...]]:
    """The rows as the driver returns them: id, version, pos, and a value a field."""
    lock = sql.SQL(" FOR NO KEY UPDATE" if is_locked else "")
    size = _size(table_id, stored) if len(ids) > 1 else None
    bound = sql.SQL("") if size is None else sql.SQL(_BOUND).format(size=size)
    table, columns = rows_table(table_id), selected_columns(stored)
    read = statement(_READ, table=table, columns=columns, bound=bound, lock=lock)
    params = {"ids": list(ids), "limit": MAX_READ_BYTES}
    found = fetch_tuples(read, params)
    if size is not None and not found:
        _refuse_large(size.as_string(), params)
    return found


def _size(table_id: int, fields: Iterable[Field]) -> sql.Composed | None:
    """The query of how many bytes rows have; None: they have no texts."""
    lengths = [
        sql.SQL(f"coalesce({_SIZED[Kind(field.kind)]}, 0)").format(column(field.column))
        for field in fields
        if field.kind in _SIZED
    ]
    if not lengths:
        return None
    total = sql.SQL(" + ").join(lengths)
    return sql.SQL(_SIZE).format(lengths=total, table=rows_table(table_id))


def _refuse_large(size: str, params: dict[str, object]) -> None:
    """Rows that were not given are too large, or do not exist."""
    if fetch_column(int, size, params)[0] > MAX_READ_BYTES:
        raise because(
            InvalidRequest, Reason.of("rows_too_large", limit=MAX_READ_BYTES), field="limit"
        )


def ids_after(table_id: int, row_id: int, limit: int) -> list[int]:
    """The ids of the rows that follow this one in the order of ids."""
    find = statement(
        "SELECT id FROM {table} WHERE id > %s ORDER BY id LIMIT %s", table=rows_table(table_id)
    )
    return fetch_column(int, find, [row_id, limit])


def find_by_key(table_id: int, field: Field, keys: Collection[Cell]) -> list[tuple[int, Cell]]:
    """The ids of rows whose field has one of these values, with the value. One query."""
    find = statement(
        "SELECT id, {column} FROM {table} WHERE {column} = ANY(%s) ORDER BY id",
        column=column(field.column),
        table=rows_table(table_id),
    )
    read = database_reader(field)
    found = fetch_tuples(find, [list(keys)])
    return [(cast("int", row_id), read(value)) for row_id, value in found]
