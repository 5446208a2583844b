"""A run's results as JSONL or CSV, a page of rows at a time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from aily.database.rows import Row, fetch_rows
from aily.database.threads import in_database
from aily.rest.json_input import one_line
from chat.models import Run
from chat.runs.kinds import kind_of

#: Rows read at once, and bytes of their texts after which a page ends early.
PAGE = 200
PAGE_BYTES = 4_194_304

_ROWS = """
SELECT number, line, key, payload, state, error, task_id, model, text, finish_reason,
       tool_calls, prompt_tokens, completion_tokens, cost, ended_at
  FROM (
  SELECT r.number, r.line, r.key, coalesce(r.payload, '{}')::text AS payload, r.state,
         r.error::text AS error, r.task_id, m.name AS model,
         CASE WHEN r.state = 'succeeded' THEN t.text END AS text, t.finish_reason,
         CASE WHEN r.state = 'succeeded' AND t.tool_calls <> '[]' THEN t.tool_calls::text END
           AS tool_calls,
         r.prompt_tokens, r.completion_tokens, r.cost, r.ended_at,
         sum(r.payload_bytes + coalesce(octet_length(t.text), 0)) OVER (ORDER BY r.number) AS size,
         row_number() OVER (ORDER BY r.number) AS place
    FROM (SELECT * FROM chat_runrow
           WHERE run_id = %(run_id)s AND number > %(after)s AND state = ANY(%(states)s)
           ORDER BY number LIMIT %(limit)s) r
    LEFT JOIN chat_task t ON t.id = r.task_id
    LEFT JOIN chat_llmmodel m ON m.id = t.model_id) page
 WHERE place = 1 OR size <= %(bytes)s
 ORDER BY number
"""
#: Beginnings of a cell that spreadsheets take for a formula, also in full width.
_FORMULA = re.compile(r"^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$")
#: Columns that follow those of the file.
RESULT_COLUMNS = (
    *("result", "state", "error", "model", "task_id", "prompt_tokens", "completion_tokens"),
    *("cost", "ended_at"),
)
STATES = ("succeeded", "failed", "cancelled", "expired", "invalid")


class ExportedRow(Row, frozen=True):
    """A row with the answer of its task. `payload`, `error` and `tool_calls` are JSON."""

    number: int
    line: int
    key: str
    payload: str
    state: str
    error: str | None
    task_id: UUID | None
    model: str | None
    text: str | None
    finish_reason: str | None
    tool_calls: str | None
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    ended_at: datetime | None


def read_page(run_id: UUID, after: int, states: Sequence[str]) -> list[ExportedRow]:
    """The next rows after a number, PAGE at most."""
    params = {
        "run_id": run_id,
        "after": after,
        "states": list(states),
        "limit": PAGE,
        "bytes": PAGE_BYTES,
    }
    return fetch_rows(ExportedRow, _ROWS, params)


async def export(
    run: Run, states: Sequence[str], encode: Callable[[Sequence[ExportedRow]], bytes]
) -> AsyncGenerator[bytes]:
    """Give the rows of these states in their order, encoded. Each page is read when the one before
    has been sent: no connection is held meanwhile, and memory is that of a page."""
    after = 0
    while rows := await in_database(read_page, run.pk, after, states):
        yield encode(rows)
        after = rows[-1].number


# --- JSONL --------------------------------------------------------------------------------------
def as_jsonl(rows: Sequence[ExportedRow]) -> bytes:
    return b"".join(one_line(msgspec.json.encode(_object(row))) + b"\n" for row in rows)


def _object(row: ExportedRow) -> dict[str, object]:
    return {
        "row": row.number,
        "line": row.line,
        "key": row.key or None,
        "state": row.state,
        "input": msgspec.Raw(row.payload.encode()),
        "result": _result(row),
        "error": _raw(row.error),
        "model": row.model,
        "task_id": row.task_id,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "cost": f"{row.cost.normalize():f}",
        "ended_at": row.ended_at,
    }


def _result(row: ExportedRow) -> dict[str, object] | None:
    if row.text is None:
        return None
    return {
        "text": row.text,
        "finish_reason": row.finish_reason or None,
        "tool_calls": _raw(row.tool_calls) or [],
    }


def _raw(json: str | None) -> msgspec.Raw | None:
    return None if json is None else msgspec.Raw(json.encode())


# --- CSV ----------------------------------------------------------------------------------------
class CSVEncoder:
    """Encodes rows as CSV, with the file's own columns first.

    `is_safe`: what a spreadsheet would take for a formula gets an apostrophe before it. `has_bom`:
    Excel then reads it as UTF-8.
    """

    def __init__(self, run: Run, *, is_safe: bool, has_bom: bool) -> None:
        self._kind = kind_of(run)
        self._columns = list(run.columns) or ["key", "input"]
        self._has_columns = bool(run.columns)
        self._is_safe = is_safe
        self._head = "\ufeff" if has_bom else ""

    def header(self) -> bytes:
        own = set(self._columns)
        added = [name if name not in own else f"aily_{name}" for name in RESULT_COLUMNS]
        return self._head.encode() + self._lines([[*self._columns, *added]])

    def __call__(self, rows: Sequence[ExportedRow]) -> bytes:
        return self._lines([self._cells(row) for row in rows])

    def _cells(self, row: ExportedRow) -> list[str]:
        if self._has_columns:
            values = msgspec.json.decode(row.payload)
            given = [_cell(values.get(name)) for name in self._columns]
        else:
            given = [row.key, row.payload]
        error = msgspec.json.decode(row.error) if row.error else {}
        return [
            *given,
            row.text or "",
            row.state,
            ": ".join(str(error[name]) for name in ("code", "message") if error.get(name)),
            row.model or "",
            str(row.task_id or ""),
            str(row.prompt_tokens),
            str(row.completion_tokens),
            f"{row.cost.normalize():f}",
            f"{row.ended_at:%Y-%m-%dT%H:%M:%SZ}" if row.ended_at else "",
        ]

    def _lines(self, rows: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerows([self._safe(cell) for cell in row] for row in rows)
        return text.getvalue().encode()

    def _safe(self, cell: str) -> str:
        if self._is_safe and _FORMULA.match(cell) and not _NUMBER.match(cell):
            return f"'{cell}"
        return cell


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
