"""Writing the file of an export: one COPY reads all rows as they are at one moment."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import msgspec
from django.conf import settings
from django.db import connection
from psycopg import sql

from aily.database.long_transactions import long_transaction
from aily.database.threads import release_connections
from aily.rest.json_input import one_line
from chat.models.files import PIECE_BYTES
from chat.runs.reading.records import FileError
from chat.tables.exports.columns import Column, json_columns, text_columns
from chat.tables.exports.provenance import provenance_columns
from chat.tables.exports.selection import Selection
from chat.tables.files.formulas import defused
from chat.tables.files.workbooks.children import write_workbook
from chat.tables.queries.sorts import order_by
from chat.tables.queries.statement import Statement

BOM = b"\xef\xbb\xbf"
#: Rows between two calls of `between`.
_EVERY_ROWS = 5_000

#: Called every few thousand rows with how many are done; raises LeaseLostError.
Between = Callable[[int], None]


@contextmanager
def written_file(
    selection: Selection, form: str, between: Between, *, is_safe: bool, has_bom: bool
) -> Iterator[Iterator[bytes]]:
    """Give the pieces of the file. Raises FileError, InvalidRequest and django.db.Error."""
    with tempfile.TemporaryFile() as file:
        output = _Output(file, between)
        if form == "jsonl":
            _write_jsonl(selection, output)
            yield _pieces(file)
            return
        columns = _write_csv(
            selection,
            output,
            # A workbook has strings, which are no formulas.
            is_safe=is_safe and form == "csv",
            has_bom=has_bom and form == "csv",
        )
        release_connections()
        if form == "csv":
            yield _pieces(file)
            return
        file.seek(0)
        yield write_workbook(file, [column.kind for column in columns])


class _Output:
    """A file on disk, of at most EXPORT_MAX_BYTES."""

    def __init__(self, file: IO[bytes], between: Between) -> None:
        self._file = file
        self._between = between
        self._size = 0
        self._rows = 0

    def write(self, data: bytes) -> None:
        self._size += len(data)
        limit: int = settings.EXPORT_MAX_BYTES
        if self._size > limit:
            raise FileError("too_large", f"The file would have more than {limit} bytes.")
        self._file.write(data)

    def write_row(self, data: bytes) -> None:
        self.write(data)
        self._rows += 1
        if self._rows % _EVERY_ROWS == 0:
            self._between(self._rows)

    def end(self) -> None:
        self._between(self._rows)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece


# --- CSV ----------------------------------------------------------------------------------------
def _write_csv(
    selection: Selection, output: _Output, *, is_safe: bool, has_bom: bool
) -> list[Column]:
    statement = Statement(selection.query.table, selection.query.operands)
    columns = text_columns(statement, selection.fields, is_safe=is_safe)
    columns += provenance_columns(statement, selection.fields, selection.ai_fields)
    names = [defused(column.name) if is_safe else column.name for column in columns]
    output.write((BOM if has_bom else b"") + _csv_line(names))
    values = [column.value for column in columns]
    copied = _copy(statement, selection, values, "FORMAT csv")
    with (
        long_transaction(),
        connection.cursor() as cursor,
        cursor.copy(copied, statement.params) as copy,
    ):
        for row in copy:
            output.write_row(bytes(row))
    output.end()
    return columns


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


# --- JSONL --------------------------------------------------------------------------------------
def _write_jsonl(selection: Selection, output: _Output) -> None:
    """One object a row, its fields by their names."""
    statement = Statement(selection.query.table, selection.query.operands)
    columns = json_columns(statement, selection.fields)
    columns += provenance_columns(statement, selection.fields, selection.ai_fields, is_json=True)
    names = [column.name for column in columns]
    array = sql.SQL("to_jsonb(ARRAY[{}]::jsonb[])::text").format(
        sql.SQL(", ").join(column.value for column in columns)
    )
    decoder = msgspec.json.Decoder(list[msgspec.Raw])
    copied = _copy(statement, selection, [array], "FORMAT text")
    with (
        long_transaction(),
        connection.cursor() as cursor,
        cursor.copy(copied, statement.params) as copy,
    ):
        for (text,) in copy.rows():
            values = dict(zip(names, decoder.decode(text), strict=True))
            output.write_row(one_line(msgspec.json.encode(values)) + b"\n")
    output.end()


def _copy(
    statement: Statement, selection: Selection, values: Sequence[sql.Composable], options: str
) -> str:
    condition, keys = selection.compile(statement)
    return (
        sql.SQL("COPY (SELECT {} {} WHERE {} {}) TO STDOUT ({})")
        .format(
            sql.SQL(", ").join(values),
            statement.source(),
            condition,
            order_by(keys),
            sql.SQL(options),
        )
        .as_string()
    )
