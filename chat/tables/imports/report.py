"""The report of an import: each cell that did not fit, up to MAX_LINES of them.

It is stored as JSON lines with rules and their parameters, and sent as CSV in the language of the
reader.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.utils.translation import gettext, override
from pydantic import JsonValue

from chat.models import StoredFile
from chat.models.files import FileWriter, stream_pieces
from chat.reasons import SENTENCES, Reason
from chat.runs.reading.records import ParsedRow
from chat.tables.files.cells import as_text
from chat.tables.files.formulas import defused
from chat.tables.imports.cells import CellFault

MAX_LINES = 10_000
MAX_VALUE_CHARS = 200
PURPOSE = "table_report"
#: Ends the names of stored reports. Those of earlier versions are CSV, in English.
SUFFIX = ".jsonl"
_ENGLISH = "en"


class _Line(msgspec.Struct, frozen=True, array_like=True):
    line: int
    field: str
    value: str
    #: The reason in English, which may say more than the rule's sentence.
    message: str
    rule: str
    params: Mapping[str, str | int | float]


class Report:
    """Collects what was wrong. `bad_rows` counts on when the report is full."""

    def __init__(self) -> None:
        self.bad_rows = 0
        self._lines: list[_Line] = []

    def add_row(self, line: int, reason: Reason) -> None:
        self.bad_rows += 1
        self._add(line, "", "", reason)

    def add_record(self, row: ParsedRow) -> None:
        self.bad_rows += 1
        error: dict[str, Any] = row.error or {}
        if not self._is_full:
            self._lines.append(
                _Line(
                    *(row.line, "", "", _encodable(str(error.get("message", "")))),
                    *(str(error.get("code", "")), error.get("params", {})),
                )
            )

    def add_cells(self, line: int, faults: Sequence[CellFault]) -> None:
        self.bad_rows += 1
        for field, value, reason in faults:
            self._add(line, field.name, _shown(value), reason)

    def _add(self, line: int, field: str, value: str, reason: Reason) -> None:
        if not self._is_full:
            message = str(reason)
            self._lines.append(_Line(line, field, value, message, reason.name, reason.params))

    @property
    def _is_full(self) -> bool:
        return len(self._lines) >= MAX_LINES

    def store(self, owner_id: int, name: str, expires_at: datetime) -> StoredFile | None:
        """Store it as a file; none if nothing was wrong."""
        if not self._lines:
            return None
        stored = FileWriter(owner_id, f"{name}{SUFFIX}")
        for line in sorted(self._lines, key=lambda line: (line.line, line.field, line.value)):
            stored.write(msgspec.json.encode(line) + b"\n")
        stored.flush()
        return stored.publish(PURPOSE, expires_at)


def _shown(value: JsonValue) -> str:
    text = value if isinstance(value, str) else "" if value is None else as_text(value)
    return _encodable(text[:MAX_VALUE_CHARS].replace("\0", "�"))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


# --- Its CSV --------------------------------------------------------------------------------------
async def stream_csv(file: StoredFile, language: str) -> AsyncGenerator[bytes]:
    """Give a stored report as CSV in this language."""
    if not file.name.endswith(SUFFIX):
        async for piece in stream_pieces(file.pk):
            yield piece
        return
    yield b"\xef\xbb\xbf" + _header(language)
    rest = b""
    async for piece in stream_pieces(file.pk):
        *lines, rest = (rest + piece).split(b"\n")
        # A piece may have thousands of lines, which would keep the event loop for 0.1 s.
        yield await asyncio.to_thread(_csv_of, lines, language)


def _header(language: str) -> bytes:
    with override(language):
        return _encode([gettext("line,field,value,reason").split(",")])


def _csv_of(lines: Iterable[bytes], language: str) -> bytes:
    decoded = (msgspec.json.decode(line, type=_Line) for line in lines)
    with override(language):
        return _encode(
            (line.line, defused(line.field), defused(line.value), _reason(line, language))
            for line in decoded
        )


def _reason(line: _Line, language: str) -> str:
    sentence = SENTENCES.get(line.rule)
    if language == _ENGLISH or sentence is None:
        return line.message
    return gettext(sentence) % line.params


def _encode(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
