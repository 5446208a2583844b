"""Records of a file, one at a time: values in the order of its columns, with the line's number."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import cast

from pydantic import JsonValue

from chat.runs.reading.csv_rows import CSVLines, csv_problem
from chat.runs.reading.encodings import Encoding, decode_lines
from chat.runs.reading.jsonl import decode_objects
from chat.runs.reading.records import FileError, ParsedRow, invalid
from chat.tables.files.dialects import Dialect, csv_options

#: A record of CSV has texts, one of JSONL values; ParsedRow: what is wrong with it.
Record = tuple[int, Sequence[JsonValue] | ParsedRow]
MAX_COLUMNS = 1000


class Reader:
    """Reads a file once. `columns` are the names in it, as they are; of JSONL those met so far.
    `read_bytes`: how much of the file has been read."""

    def __init__(self, pieces: Iterable[bytes], dialect: Dialect, max_row_bytes: int) -> None:
        self._pieces = self._counted(pieces)
        self._dialect = dialect
        self._max_row_bytes = max_row_bytes
        self.columns: list[str] = []
        self.read_bytes = 0

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.read_bytes += len(piece)
            yield piece

    def records(self, columns: Sequence[str] = ()) -> Iterator[Record]:
        """Give the records below the header. Raises FileError.

        `columns` are those of JSONL, if they are known: values come in their order, and fields
        with other names are left out.
        """
        if self._dialect.format == "jsonl":
            self.columns = list(columns)
            return self._objects(columns)
        return self._table()

    # --- JSONL ----------------------------------------------------------------------------------
    def _objects(self, columns: Sequence[str]) -> Iterator[Record]:
        found = dict.fromkeys(columns)
        encoding = cast("Encoding", self._dialect.encoding)
        for line, fields in decode_objects(self._pieces, encoding, self._max_row_bytes):
            if isinstance(fields, ParsedRow):
                yield line, fields
                continue
            if not columns and (new := [name for name in fields if name not in found]):
                found.update(dict.fromkeys(new))
                self.columns = list(found)
                _check_width(self.columns, line)
            yield line, [fields.get(name) for name in self.columns]

    # --- CSV ------------------------------------------------------------------------------------
    def _table(self) -> Iterator[Record]:
        records = _csv_records(self._pieces, self._dialect, self._max_row_bytes)
        first = next(records, None)
        if first is None:
            raise FileError("empty_file", "The file has no rows.")
        line, cells = first
        if isinstance(cells, ParsedRow):
            raise FileError("invalid_header", str((cells.error or {}).get("message")), line=line)
        _check_width(cells, line)
        if self._dialect.has_header:
            self.columns = cast("list[str]", list(cells))
        else:
            self.columns = [""] * len(cells)
            records = chain([first], records)
        return self._fitted(records)

    def _fitted(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records, each with as many values as there are columns."""
        width = len(self.columns)
        for line, cells in records:
            if isinstance(cells, ParsedRow) or len(cells) == width:
                yield line, cells
            elif len(cells) > width and not any(cells[width:]):
                yield line, cells[:width]
            else:
                message = f"This has {len(cells)} values, and the file {width} columns."
                params = {"values": len(cells), "columns": width}
                yield line, invalid(line, "wrong_column_count", message, params=params)


def _check_width(cells: Sequence[object], line: int) -> None:
    if len(cells) > MAX_COLUMNS:
        raise FileError("too_many_columns", f"At most {MAX_COLUMNS} columns are read.", line=line)


def _csv_records(pieces: Iterable[bytes], dialect: Dialect, max_row_bytes: int) -> Iterator[Record]:
    csv.field_size_limit(max_row_bytes)
    options = csv_options(dialect.delimiter, dialect.quote)
    encoding = cast("Encoding", dialect.encoding)
    lines = CSVLines(decode_lines(pieces, encoding, max_row_bytes))
    text = iter(lines)
    reader = csv.reader(text, **options)
    while True:
        first = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield first, invalid(first, "invalid_csv", csv_problem(error))
            # A reader cannot go on after an error.
            reader = csv.reader(text, **options)
            continue
        if cells is None:
            return
        if lines.has_long:
            lines.has_long = False
            message = f"This has more than {max_row_bytes} bytes."
            params = {"limit": max_row_bytes}
            yield first, invalid(first, "row_too_large", message, params=params)
        elif any(cells):
            yield first, cells
