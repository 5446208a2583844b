"""The report of an import: each cell that did not fit, as CSV, up to MAX_LINES of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from chat.models import StoredFile
from chat.models.files import FileWriter
from chat.runs.reading.records import ParsedRow
from chat.tables.files.cells import as_text
from chat.tables.files.formulas import defused
from chat.tables.imports.cells import CellFault

MAX_LINES = 10_000
MAX_VALUE_CHARS = 200
PURPOSE = "table_report"
HEADER = ("line", "field", "value", "reason")


class Report:
    """Collects what was wrong. `bad_rows` counts on when the report is full."""

    def __init__(self) -> None:
        self.bad_rows = 0
        self._lines: list[tuple[int, str, str, str]] = []

    def add_row(self, line: int, reason: str) -> None:
        self.bad_rows += 1
        self._add(line, "", "", reason)

    def add_record(self, row: ParsedRow) -> None:
        self.add_row(row.line, str((row.error or {}).get("message", "")))

    def add_cells(self, line: int, faults: Sequence[CellFault]) -> None:
        self.bad_rows += 1
        for field, value, reason in faults:
            self._add(line, field.name, _shown(value), reason)

    def _add(self, line: int, field: str, value: str, reason: str) -> None:
        if len(self._lines) < MAX_LINES:
            self._lines.append((line, field, value, reason))

    def store(self, owner_id: int, name: str, expires_at: datetime) -> StoredFile | None:
        """Store it as a file; none if nothing was wrong."""
        if not self._lines:
            return None
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(HEADER)
        for line, field, value, reason in sorted(self._lines):
            writer.writerow((line, defused(field), defused(value), reason))
        stored = FileWriter(owner_id, name)
        stored.write(b"\xef\xbb\xbf" + text.getvalue().encode(errors="replace"))
        stored.flush()
        return stored.publish(PURPOSE, expires_at)


def _shown(value: JsonValue) -> str:
    text = value if isinstance(value, str) else "" if value is None else as_text(value)
    return text[:MAX_VALUE_CHARS].replace("\0", "�")
