"""Inspecting a file: what a user is shown before it is imported.

All of it is read: a kind is guessed from rows spread over the file, not from its beginning.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from pydantic import JsonValue

from aily.database.threads import release_connections
from chat.models.files import FileWriter, delete_file, read_pieces
from chat.runs.reading.records import FileError, ParsedRow
from chat.tables.files import guessing
from chat.tables.files.cells import as_text
from chat.tables.files.dialects import (
    Dialect,
    dialect_of,
    looks_like_header,
    sniff_delimiter,
)
from chat.tables.files.reading import Reader
from chat.tables.files.workbooks.children import read_workbook
from chat.tables.imports.mapping import default_mapping
from chat.tables.models import Import, TransferState
from chat.tables.transfers.leases import Lease

#: Rows that are shown, and characters of each of their cells.
PREVIEW_ROWS, PREVIEW_CHARS = 50, 200
#: Purpose of the files of imports, and how long one is kept that was not started.
PURPOSE = "table_import"
KEPT = timedelta(days=1)
#: By its first bytes the delimiter and the header are recognised.
_HEAD_CHARS = 65_536


def inspect(job: Import, lease: Lease) -> None:
    """Read the file through: inspecting → ready, or failed with what is wrong with it.

    Raises LeaseLostError.
    """
    try:
        fields = _inspect(job, lease)
    except FileError as error:
        fields = {
            "state": TransferState.FAILED,
            "reason": error.code,
            "message": error.message,
            "reason_params": error.params,
            "columns": [],
            "preview": [],
        }
    own = Import.objects.filter(
        pk=job.pk, lease=lease.token, state=TransferState.INSPECTING, options=job.options
    )
    if "options" in fields:
        fields["options"] = {**job.options, **fields["options"]}
    # Changed meanwhile: it is inspected once more.
    own.update(**fields)


def _inspect(job: Import, lease: Lease) -> dict[str, Any]:
    options: dict[str, Any] = {}
    chosen = dict(job.options.get("chosen", {}))
    file_id = job.file_id
    if file_id is None:
        raise FileError("no_file", "The file of this import is gone.")
    if job.format == "xlsx":
        file_id, options["sheets"] = _convert(job, str(chosen.get("sheet", "")), lease)
        chosen["encoding"] = "utf-8"
        chosen |= {"delimiter": ",", "quote": '"'}
    dialect = _dialect(job, file_id, chosen)
    found = _Survey(dialect)
    found.read(_renewing(read_pieces(file_id), lease))
    dialect = found.with_guesses(chosen)
    options["dialect"] = dialect.as_json()
    columns = found.columns(dialect)
    return {
        "state": TransferState.READY,
        "reason": "",
        "message": "",
        "reason_params": None,
        "options": options,
        "columns": columns,
        "preview": found.preview,
        "mapping": default_mapping(job, columns),
        "total": found.sample.seen + found.bad_rows,
        "sheet_file_id": file_id if job.format == "xlsx" else None,
    }


# --- Workbooks ----------------------------------------------------------------------------------
def _convert(job: Import, sheet: str, lease: Lease) -> tuple[UUID, list[str]]:
    """Store a sheet of a workbook as CSV. Returns its file, and the names of all sheets."""
    file_id = cast("UUID", job.file_id)
    if job.sheet_file_id is not None:
        delete_file(job.sheet_file_id)
    sheets, pieces = read_workbook(read_pieces(file_id), sheet, settings.TABLE_MAX_ROWS + 1)
    writer = FileWriter(job.owner_id, job.file_name)
    try:
        for piece in _released(pieces):
            writer.write(piece)
            lease.renew(0)
        writer.flush()
        file = writer.publish(PURPOSE, timezone.now() + KEPT)
    except BaseException:
        writer.discard()
        raise
    return file.pk, sheets


def _released(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces; no connection is held while the other process works."""
    while True:
        release_connections()
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _renewing(pieces: Iterable[bytes], lease: Lease) -> Iterator[bytes]:
    """The pieces; the lease is renewed with each."""
    for piece in pieces:
        lease.renew(0)
        # What is in a piece takes longer than to read it: another thread may have the connection.
        release_connections()
        yield piece


# --- Dialect ------------------------------------------------------------------------------------
def _dialect(job: Import, file_id: UUID, chosen: Mapping[str, object]) -> Dialect:
    """The dialect: what the owner has chosen, and the rest guessed from the first bytes."""
    encoding = str(chosen.get("encoding") or job.options.get("encoding") or "")
    if not encoding:
        message = "The file is text in neither UTF-8 nor GB18030 nor UTF-16: say in which encoding."
        raise FileError("unknown_encoding", message)
    file_format = "jsonl" if job.format == "jsonl" else "csv"
    dialect = dialect_of({"format": file_format, "encoding": encoding, **chosen})
    head = _head(file_id, encoding)
    if file_format == "jsonl":
        if head.lstrip().startswith("["):
            message = "This is one JSON array: send an object a line (JSONL)."
            raise FileError("json_array", message)
        return dialect
    if "delimiter" not in chosen:
        dialect = dialect.changed({"delimiter": sniff_delimiter(head, dialect.quote)})
    if "has_header" not in chosen:
        dialect = dialect.changed({"has_header": _has_header(head, dialect)})
    return dialect


def _head(file_id: UUID, encoding: str) -> str:
    """The first characters of the file, up to the end of a line."""
    piece = next(read_pieces(file_id), b"")[: 4 * _HEAD_CHARS]
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    text = decoder.decode(piece).removeprefix("\ufeff")[:_HEAD_CHARS]
    lines = text.rpartition("\n")[0]
    return lines or text


def _has_header(head: str, dialect: Dialect) -> bool:
    plain = dialect.changed({"has_header": False, "encoding": "utf-8"})
    records = Reader([head.encode()], plain, settings.RUN_MAX_ROW_BYTES).records()
    first = next((cells for _, cells in records if not isinstance(cells, ParsedRow)), None)
    return first is None or looks_like_header([str(cell) for cell in first])


class _Survey:
    """What one pass over a file finds out about it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._header: list[str] = []
        self.sample = guessing.Sample()
        self.bad_rows = 0
        self.preview: list[list[str | None]] = []

    def read(self, pieces: Iterator[bytes]) -> None:
        """Read the file, of which no more is kept than the sample."""
        reader = Reader(pieces, self._dialect, settings.RUN_MAX_ROW_BYTES)
        for place, (_, cells) in enumerate(reader.records()):
            if isinstance(cells, ParsedRow):
                self.bad_rows += 1
                continue
            self.sample.add(cells)
            if place < PREVIEW_ROWS:
                self.preview.append([_shown(cell) for cell in cells])
        self._header = reader.columns
        if not self.sample.seen:
            raise FileError("empty_file", "The file has no rows, or none that can be read.")

    def with_guesses(self, chosen: Mapping[str, object]) -> Dialect:
        """The dialect, with the forms of numbers and dates guessed from the cells."""
        rows = self.sample.rows
        guesses: dict[str, object] = {
            "decimal_comma": guessing.guess_decimal_comma(rows, self._dialect.delimiter),
            "date_order": guessing.guess_date_order(rows),
        }
        return self._dialect.changed(
            {name: value for name, value in guesses.items() if name not in chosen}
        )

    def columns(self, dialect: Dialect) -> list[dict[str, str]]:
        """Name in the file, name for a field, and guessed kind of each column."""
        is_object = dialect.format == "jsonl"
        if is_object and any(len(name) > guessing.MAX_NAME_CHARS for name in self._header):
            message = f"The name of a field has more than {guessing.MAX_NAME_CHARS} characters."
            raise FileError("invalid_header", message)
        names = guessing.column_names(self._header)
        kinds = guessing.guess_kinds(names, self.sample.rows, dialect)
        return [
            {"header": header[: guessing.MAX_NAME_CHARS], "name": name, "kind": kind}
            for header, name, kind in zip(self._header, names, kinds, strict=True)
        ]


def _shown(cell: JsonValue) -> str | None:
    if cell is None:
        return None
    text = cell if isinstance(cell, str) else as_text(cell)
    return text[:PREVIEW_CHARS].replace("\0", "�")
