"""Validating: the rows of a file become rows of the database, in chunks.

A process that dies leaves rows behind; the next one deletes them and begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from aily.database.rows import execute
from chat.models import RowState, Run, RunRow, RunState, StoredFile
from chat.models.insertion import insert
from chat.reasons import Reason
from chat.runs.kinds import RunKind, kind_of
from chat.runs.leases import Lease, LeaseLostError
from chat.runs.reading.records import FileError, Params, ParsedRow, invalid
from chat.runs.states import change_state

#: Rows and bytes of payloads inserted by one statement.
CHUNK_ROWS = 500
CHUNK_BYTES = 2_097_152
#: Errors that are listed with a run whose file was refused.
MAX_ERRORS = 100
_NO_PAYLOAD = msgspec.Raw(b"null")


class _NewRow(msgspec.Struct, frozen=True):
    """The columns of `RunRow`; encoded in a fiftieth of the model's time."""

    run_id: str
    number: int
    line: int
    key: str
    payload: msgspec.Raw
    payload_bytes: int
    state: str
    error: dict[str, object] | None
    ended_at: str | None
    task_id: None = None
    generation: int = 0
    tries: int = 0
    not_before: None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0


def validate(run: Run, lease: Lease, between: Callable[[], None] = lambda: None) -> None:
    """Read the run's file to its end: validating → ready, or failed with what is wrong with it.

    `between` is called between two chunks. Raises LeaseLostError or django.db.Error; then another
    turn begins again.
    """
    RunRow.objects.filter(run=run).delete()
    Run.objects.filter(pk=run.pk, fed_by=lease.token).update(
        total=0, pending=0, invalid=0, input_bytes=0, errors=[]
    )
    kind = kind_of(run)
    try:
        errors = _insert_all(run, kind, lease, between)
    except FileError as error:
        refuse(run, [error.as_error()], error.message, {"code": error.code, **error.params})
        return
    if not Run.objects.filter(pk=run.pk, pending__gt=0).exists():
        _refuse_lines(run, errors, Reason("no_valid_line"))
        return
    if errors and not kind.may_skip_invalid(run):
        _refuse_lines(run, errors, Reason.of("wrong_lines", count=len(errors)))
        return
    read: dict[str, Any] = {"columns": run.columns, "source": run.source, "errors": errors}
    _end(run, RunState.READY, read)


def _refuse_lines(run: Run, errors: Sequence[dict[str, object]], why: Reason) -> None:
    refuse(run, errors, str(why), why.as_params())


def refuse(
    run: Run, errors: Sequence[dict[str, object]], message: str, params: Params | None = None
) -> None:
    """validating → failed: nothing of the file is kept but what is wrong with it."""
    fields: dict[str, Any] = {"errors": list(errors), "reason": "invalid_file", "message": message}
    fields["params"] = params
    fields |= dict.fromkeys(("total", "pending", "invalid", "input_bytes"), 0)
    if _end(run, RunState.FAILED, {**fields, "ended_at": timezone.now()}):
        RunRow.objects.filter(run=run).delete()


def _end(run: Run, to: RunState, fields: dict[str, Any]) -> bool:
    """End the validating, and delete the file unless it is kept: its rows are in the database."""
    file_id = run.input_file_id
    if kind_of(run).keeps_file:
        return change_state(run, [RunState.VALIDATING], to, **fields)
    if not change_state(run, [RunState.VALIDATING], to, input_file=None, **fields):
        return False
    if file_id is not None:
        StoredFile.objects.filter(pk=file_id).delete()
    return True


def _insert_all(
    run: Run, kind: RunKind, lease: Lease, between: Callable[[], None]
) -> list[dict[str, object]]:
    """Insert all rows. Returns what is wrong with the first MAX_ERRORS invalid ones."""
    errors: list[dict[str, object]] = []
    number = 0
    for chunk in _chunks(_with_unique_keys(kind.read_rows(run))):
        if number + len(chunk) > settings.RUN_MAX_ROWS:
            message = f"A run has at most {settings.RUN_MAX_ROWS} rows."
            params = {"limit": settings.RUN_MAX_ROWS}
            raise FileError("too_many_rows", message, line=chunk[-1].line, params=params)
        _insert_chunk(run, lease, number, chunk)
        number += len(chunk)
        wrong = [{"line": row.line, "param": None, **row.error} for row in chunk if row.error]
        errors += wrong[: MAX_ERRORS - len(errors)]
        between()
    if not number:
        raise FileError("empty_file", "The file has no rows.")
    return errors


def _with_unique_keys(rows: Iterator[ParsedRow]) -> Iterator[ParsedRow]:
    """The rows; one whose key was there before is invalid. Keys are kept as digests of 12 bytes."""
    first_line: dict[bytes, int] = {}
    for row in rows:
        if row.key and row.error is None:
            digest = blake2b(row.key.encode(), digest_size=12).digest()
            if (line := first_line.setdefault(digest, row.line)) != row.line:
                message = f"The key {row.key[:100]!r} is that of line {line} as well."
                params: Params = {"key": row.key[:100], "line": line}
                yield invalid(row.line, "duplicate_key", message, key=row.key, params=params)
                continue
        yield row


def _chunks(rows: Iterator[ParsedRow]) -> Iterator[list[ParsedRow]]:
    chunk: list[ParsedRow] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.payload)
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


_COUNT = """
UPDATE chat_run SET total = total + %(rows)s, pending = pending + %(valid)s,
       invalid = invalid + %(rows)s - %(valid)s, input_bytes = input_bytes + %(bytes)s
 WHERE id = %(run_id)s AND fed_by = %(token)s AND state = 'validating'
"""


def _insert_chunk(run: Run, lease: Lease, number: int, chunk: Sequence[ParsedRow]) -> None:
    valid = [row for row in chunk if row.error is None]
    params = {
        "run_id": run.pk,
        "token": lease.token,
        "rows": len(chunk),
        "valid": len(valid),
        "bytes": sum(len(row.payload) for row in valid),
    }
    with transaction.atomic():
        lease.renew()
        if not execute(_COUNT, params):
            raise LeaseLostError
        now = timezone.now().isoformat()
        insert(RunRow, [_new_row(run, at, row, now) for at, row in enumerate(chunk, number + 1)])


def _new_row(run: Run, number: int, row: ParsedRow, now: str) -> _NewRow:
    is_valid = row.error is None
    return _NewRow(
        run_id=str(run.pk),
        number=number,
        line=row.line,
        key=row.key,
        payload=msgspec.Raw(row.payload) if row.payload else _NO_PAYLOAD,
        payload_bytes=len(row.payload),
        state=RowState.PENDING.value if is_valid else RowState.INVALID.value,
        error=row.error,
        ended_at=None if is_valid else now,
    )
