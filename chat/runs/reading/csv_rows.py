"""Rows of a CSV file: its first line names the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from chat.runs.reading.encodings import Encoding, decode_lines
from chat.runs.reading.records import FileError, ParsedRow, invalid

MAX_COLUMNS = 200
MAX_COLUMN_CHARS = 200
_DELIMITERS = ",;\t|"
#: A first line by which files for Excel name their delimiter.
_DELIMITER_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
#: How csv.Error begins, and what that says of a file.
_REASONS = {
    "unexpected end of data": "a quote is not closed",
    "field larger than field limit": "a value is too long, or its quote is not closed",
    "new-line character seen": "a value without quotes has the line end CR",
}


@dataclass(slots=True)
class CSVLines:
    """The lines of a file for csv.reader, and the number of the line that it read last."""

    lines: Iterator[tuple[int, str | None]]
    number: int = 0
    has_long: bool = field(default=False)

    def __iter__(self) -> Iterator[str]:
        for number, text in self.lines:
            self.number = number
            if text is None:
                self.has_long = True
                yield "\n"
            else:
                yield text


class CSVFile:
    """A CSV file that is read once. `columns` are known once the first row was asked for."""

    def __init__(
        self,
        pieces: Iterable[bytes],
        encoding: Encoding,
        *,
        delimiter: str,
        key_column: str,
        max_row_bytes: int,
    ) -> None:
        csv.field_size_limit(max_row_bytes)
        self._lines = CSVLines(decode_lines(pieces, encoding, max_row_bytes))
        self._text = iter(self._lines)
        self._delimiter = delimiter
        self._key_column = key_column
        self._max_row_bytes = max_row_bytes
        self.columns: list[str] = []
        #: As it is in the file.
        self._header: list[str] = []

    def rows(self) -> Iterator[ParsedRow]:
        """Give the rows below the header. Raises FileError."""
        self._header = self._read_header()
        self.columns = _checked(self._header)
        if self._key_column and self._key_column not in self.columns:
            message = f"There is no column {self._key_column!r} for the key."
            raise FileError(
                "unknown_column",
                message,
                line=self._lines.number,
                params={"column": self._key_column},
            )
        reader = self._reader()
        while True:
            first = self._lines.number + 1
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield invalid(first, "invalid_csv", csv_problem(error))
                # A reader cannot go on after an error.
                reader = self._reader()
                continue
            if values is None:
                return
            if values and any(values):
                yield self._row(first, values)
            elif self._lines.has_long:
                yield self._too_long(first)

    def _row(self, line: int, values: list[str]) -> ParsedRow:
        if self._lines.has_long:
            return self._too_long(line)
        if values == self._header:
            return invalid(line, "repeated_header", "This is the header once more.")
        if len(values) != len(self.columns):
            message = f"This has {len(values)} values, and the header {len(self.columns)} columns."
            params = {"values": len(values), "columns": len(self.columns)}
            return invalid(line, "wrong_column_count", message, params=params)
        if any("\0" in value for value in values):
            return invalid(line, "invalid_character", "A value has the character U+0000.")
        payload = dict(zip(self.columns, values, strict=True))
        encoded = msgspec.json.encode(payload)
        if len(encoded) > self._max_row_bytes:
            return self._too_long(line)
        key = payload[self._key_column] if self._key_column else ""
        return ParsedRow(line, key, encoded)

    def _too_long(self, line: int) -> ParsedRow:
        self._lines.has_long = False
        message = f"This has more than {self._max_row_bytes} bytes."
        return invalid(line, "row_too_large", message, params={"limit": self._max_row_bytes})

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._text, delimiter=self._delimiter, strict=True)

    def _read_header(self) -> list[str]:
        """The names of the columns, as they are. Raises FileError."""
        first = self._first_line()
        if (named := _DELIMITER_LINE.fullmatch(first)) is not None:
            self._delimiter = self._delimiter or named[1]
            first = self._first_line()
        line = max(self._lines.number, 1)
        self._delimiter = self._delimiter or _sniff(first)
        lines = self._after(first)
        try:
            names = next(csv.reader(lines, delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise FileError("invalid_csv", csv_problem(error), line=line) from None
        if self._lines.has_long:
            message = f"The header has more than {self._max_row_bytes} bytes."
            params = {"limit": self._max_row_bytes}
            raise FileError("row_too_large", message, line=line, params=params)
        return names

    def _first_line(self) -> str:
        """The next line that is not blank; one that is too long is "\\n"."""
        first = next(self._text, "")
        while first and not first.strip() and not self._lines.has_long:
            first = next(self._text, "")
        return first

    def _after(self, first: str) -> Iterator[str]:
        yield first
        # `yield from` would close the lines with this generator, and the rows below a header of
        # several lines with them.
        for line in self._text:  # noqa: UP028
            yield line


def csv_problem(error: csv.Error) -> str:
    """What is wrong with a line, in words that say what to look for."""
    said = str(error)
    reason = next((why for begun, why in _REASONS.items() if said.startswith(begun)), said)
    return f"This is not valid CSV: {reason}."


def _sniff(header: str) -> str:
    """The delimiter that the header has most of, outside quotes."""
    bare = "".join(header.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _checked(names: list[str]) -> list[str]:
    """The names of the columns. Raises FileError."""
    if not any(name.strip() for name in names):
        raise FileError("empty_file", "The file has no header and no rows.")
    if len(names) > MAX_COLUMNS:
        message = f"At most {MAX_COLUMNS} columns are read."
        raise FileError("too_many_columns", message, line=1, params={"limit": MAX_COLUMNS})
    columns = [name.strip() or f"column_{place}" for place, name in enumerate(names, 1)]
    for name in columns:
        if "\0" in name:
            message = "The name of a column has the character U+0000."
            raise FileError("invalid_character", message, line=1)
        if len(name) > MAX_COLUMN_CHARS:
            message = f"The name of a column has more than {MAX_COLUMN_CHARS} characters."
            raise FileError("invalid_header", message, line=1, params={"limit": MAX_COLUMN_CHARS})
        if columns.count(name) > 1:
            message = f"The column {name!r} is in the header more than once."
            raise FileError("duplicate_column", message, line=1, params={"column": name})
    return columns
