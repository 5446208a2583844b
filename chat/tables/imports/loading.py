"""Loading: each row of the file is checked, and copied into a table of its own.

Nobody sees anything of it. A worker that takes an import over begins it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from psycopg import sql

from aily.database.errors import is_outage
from aily.database.threads import release_connections
from chat.models.files import read_pieces
from chat.reasons import Reason
from chat.runs.announcing import publish
from chat.runs.reading.records import FileError, ParsedRow
from chat.tables.files.dialects import Dialect, dialect_of
from chat.tables.files.reading import Reader, Record
from chat.tables.imports.cells import NewChoices, RowParser
from chat.tables.imports.links import LinkFinder, find_target
from chat.tables.imports.mapping import naming_fields
from chat.tables.imports.report import Report
from chat.tables.imports.staging import create_staging, new_column, staging_table
from chat.tables.models import Field, Import, ImportMode, Kind
from chat.tables.names import joined, statement
from chat.tables.transfers.leases import Lease

#: Rows of a chunk: checked, then copied by one statement.
CHUNK_ROWS = 2_000
#: Cells of a chunk, for tables with many columns; and bytes of the file after which it ends early,
#: for long rows: memory is that of a chunk.
CHUNK_CELLS = 100_000
CHUNK_BYTES = 2_097_152
#: An import that will be given up is read on until so many rows are bad, for its report.
ENOUGH_BAD_ROWS = 1_000

#: Seconds between two notices to followers.
ANNOUNCE_SECONDS = 0.5

#: A row of the staging table: its line, and the values of the fields.
StagedRow = tuple[int, list[object]]


class TooManyBadRowsError(Exception):
    """The import is given up. `report` says why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    fields: Sequence[Field]
    #: By the id of their field, which is a select.
    choices: dict[int, NewChoices]
    report: Report
    read_rows: int


class Loader:
    """Loads one import. Raises FileError, TooManyBadRowsError and LeaseLostError."""

    def __init__(self, job: Import, lease: Lease) -> None:
        self._job = job
        self._lease = lease
        self.report = Report()
        self._read = 0
        self._announced_at = 0.0
        dialect = dialect_of(job.options["dialect"])
        table_id = cast("int", job.table_id)
        fields = {field.pk: field for field in Field.objects.filter(table_id=table_id)}
        missing = {target for target in job.targets if target is not None} - fields.keys()
        if missing:
            raise FileError("field_deleted", "A field of the mapping was deleted meanwhile.")
        self._parser = RowParser(job.targets, fields, dialect, _finders(job, fields, dialect))
        self._key_place = self._find_key()
        file_id = job.sheet_file_id or job.file_id
        if file_id is None:
            raise FileError("no_file", "The file of this import is gone.")
        self._reader = Reader(read_pieces(file_id), dialect, settings.RUN_MAX_ROW_BYTES)
        self._copy = _copy_statement(job, self._parser.fields)

    def _find_key(self) -> int | None:
        """The key's place among the fields; None where rows are only added."""
        if self._job.mode == ImportMode.APPEND:
            return None
        ids = [field.pk for field in self._parser.fields]
        if self._job.key_field_id not in ids:
            raise FileError("no_key", "No column goes to the key field.")
        return ids.index(self._job.key_field_id)

    def load(self) -> Loaded:
        table_id = cast("int", self._job.table_id)
        keeps_old = self._job.mode == ImportMode.UPSERT
        create_staging(self._job.pk, table_id, self._parser.fields, keeps_old=keeps_old)
        headers = [column["header"] for column in self._job.columns]
        records = self._reader.records(headers)
        if len(self._reader.columns) != len(headers):
            raise FileError("other_columns", "The file has other columns than were shown.")
        while chunk := self._next_chunk(records):
            self._load_chunk(chunk)
            # Before the next one is read.
            chunk.clear()
        if self._has_too_many(self._read):
            raise TooManyBadRowsError
        return Loaded(self._parser.fields, self._parser.choices, self.report, self._read)

    def _next_chunk(self, records: Iterator[Record]) -> list[Record]:
        """Up to CHUNK_ROWS records; empty at the end."""
        rows = max(min(CHUNK_ROWS, CHUNK_CELLS // max(len(self._parser.fields), 1)), 1)
        began = self._reader.read_bytes
        chunk: list[Record] = []
        for record in records:
            chunk.append(record)
            if len(chunk) >= rows or self._reader.read_bytes - began >= CHUNK_BYTES:
                break
        return chunk

    def _load_chunk(self, chunk: Sequence[Record]) -> None:
        # Parsing takes longer than copying: another thread may have the connection meanwhile.
        release_connections()
        self._parser.learn_links(cells for _, cells in chunk if not isinstance(cells, ParsedRow))
        rows = list(self._parsed(chunk))
        self._read += len(chunk)
        total = max(self._job.total or 0, self._read)
        if self.report.bad_rows >= ENOUGH_BAD_ROWS and self._has_too_many(total):
            raise TooManyBadRowsError
        self._store(rows)
        self._announce()

    def _announce(self) -> None:
        """Wake the followers, at the rate at which they read."""
        now = time.monotonic()
        if now - self._announced_at >= ANNOUNCE_SECONDS:
            self._announced_at = now
            publish([self._job.pk])

    def _parsed(self, chunk: Sequence[Record]) -> Iterator[StagedRow]:
        for line, cells in chunk:
            if isinstance(cells, ParsedRow):
                self.report.add_record(cells)
                continue
            values, faults = self._parser.parse(cells)
            if faults:
                self.report.add_cells(line, faults)
            elif self._key_place is not None and values[self._key_place] is None:
                self.report.add_row(line, Reason.of("key_empty"))
            else:
                yield line, values

    def _store(self, rows: Sequence[StagedRow]) -> None:
        """Copy the rows. Those that PostgreSQL refuses, as too large, are reported."""
        try:
            with transaction.atomic():
                self._lease.renew(self._read)
                self._write(rows)
        except DatabaseError as error:
            if is_outage(error) and not _is_too_large(error):
                raise
            if len(rows) > 1:
                half = len(rows) // 2
                self._store(rows[:half])
                self._store(rows[half:])
                return
            self.report.add_row(rows[0][0], Reason.of("row_not_stored"))

    def _write(self, rows: Iterable[StagedRow]) -> None:
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            for line, values in rows:
                copy.write_row([line, *values])

    def _has_too_many(self, total: int) -> bool:
        """Whether more of the rows are bad than may be, or all of them."""
        bad = self.report.bad_rows
        return bad * 100 > self._job.max_bad_percent * total or bad == total > 0


def _finders(job: Import, fields: Mapping[int, Field], dialect: Dialect) -> dict[int, LinkFinder]:
    """What finds the rows that link fields name, by the field. Raises InvalidRequest if the owner
    may not read their table any more."""
    by_place = naming_fields(job.mapping)
    return {
        target: LinkFinder(
            find_target(fields[target], by_place.get(place), job.owner, f"mapping.{place}"), dialect
        )
        for place, target in enumerate(job.targets)
        if target is not None and fields[target].kind == Kind.LINK
    }


def _is_too_large(error: DatabaseError) -> bool:
    """Whether it is a limit of PostgreSQL's program, as of the size of a row."""
    return str(getattr(error.__cause__, "sqlstate", "")).startswith("54")


def _copy_statement(job: Import, fields: Sequence[Field]) -> str:
    columns = joined([sql.Identifier("line"), *map(new_column, fields)])
    return statement(
        "COPY {staging} ({columns}) FROM STDIN", staging=staging_table(job.pk), columns=columns
    )
