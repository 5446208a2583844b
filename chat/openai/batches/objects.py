"""The object of a batch, as OpenAI's clients read it, and what its webhooks say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from chat.models import Batch, Run, RunState
from chat.openai.ids import BATCH, FILE, id_of
from chat.openai.lists import JsonObject

WINDOW = "24h"
_STATUS = {
    RunState.VALIDATING: "validating",
    RunState.READY: "validating",
    RunState.SCHEDULED: "in_progress",
    RunState.RUNNING: "in_progress",
    RunState.PAUSED: "in_progress",
    RunState.FINISHING: "finalizing",
    RunState.DONE: "completed",
    RunState.CANCELLED: "cancelled",
    RunState.FAILED: "failed",
    RunState.EXPIRED: "expired",
}
#: OpenAI's codes, by those of the engine of runs, and the field that is at fault.
_CODES = {
    "duplicate_key": ("duplicate_custom_id", "custom_id"),
    "invalid_json": ("invalid_json_line", None),
    "row_too_large": ("line_too_large", None),
}


def status_of(run: Run) -> str:
    if run.state == RunState.FINISHING and run.ends_as == RunState.CANCELLED:
        return "cancelling"
    if run.state == RunState.RUNNING and run.batch.finalizing_at is not None:
        return "finalizing"
    return _STATUS[RunState(run.state)]


def batch_object(batch: Batch) -> JsonObject:
    """What is not there yet is left out, as OpenAI's schema has no null for it."""
    fields = _fields(batch)
    return {name: value for name, value in fields.items() if value is not None}


def _fields(batch: Batch) -> JsonObject:
    run = batch.run
    ended = {run.state: _seconds(run.ended_at)}
    return {
        "id": id_of(BATCH, run.pk),
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": run.source.get("model"),
        "errors": _errors(run),
        "input_file_id": id_of(FILE, batch.input_file_id),
        "completion_window": WINDOW,
        "status": status_of(run),
        "output_file_id": _file(batch.output_file_id),
        "error_file_id": _file(batch.error_file_id),
        "created_at": _seconds(run.created_at),
        "in_progress_at": _seconds(run.started_at),
        "expires_at": _seconds(run.deadline_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": ended.get(RunState.DONE),
        "failed_at": ended.get(RunState.FAILED),
        "expired_at": ended.get(RunState.EXPIRED),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": ended.get(RunState.CANCELLED),
        "request_counts": {
            "total": run.total,
            "completed": run.succeeded,
            # Every line that has ended without an answer: these are the lines of the error file.
            "failed": run.failed + run.expired + run.cancelled,
        },
        "usage": {
            "input_tokens": run.prompt_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": run.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": run.prompt_tokens + run.completion_tokens,
        },
        "metadata": batch.metadata,
    }


def event_data(run: Run) -> Mapping[str, object]:
    """`data` of a webhook about a batch."""
    return {"id": id_of(BATCH, run.pk)}


def _errors(run: Run) -> JsonObject | None:
    if not run.errors:
        return None
    return {"object": "list", "data": [_error(error) for error in run.errors]}


def _error(error: Mapping[str, object]) -> JsonObject:
    code = str(error["code"])
    known, param = _CODES.get(code, (code, None))
    return {
        "code": known,
        "line": error.get("line"),
        "message": error.get("message"),
        "param": error.get("param") or param,
    }


def _file(file_id: UUID | None) -> str | None:
    return id_of(FILE, file_id) if file_id is not None else None


def _seconds(at: datetime | None) -> int | None:
    return int(at.timestamp()) if at is not None else None
