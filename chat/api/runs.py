"""REST: runs, many requests as one thing."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, StreamingHttpResponse
from ninja import File, Form, Query, Router, Status
from ninja.files import UploadedFile
from ninja.pagination import paginate

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotency_key, idempotent, takes_idempotency_key
from accounts.lost_access import lost_access, while_accessible
from aily.database.replica import may_read_replica
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest
from aily.rest.etags import if_match
from aily.rest.json_input import decode_json
from aily.rest.openapi import documented_responses
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import no_body
from chat.api.run_schemas import (
    ErrorGroup,
    EstimateOut,
    ResultsFormat,
    RowFilter,
    RowPage,
    RunFilter,
    RunForm,
    RunItem,
    RunOut,
    RunPatch,
    StartIn,
    TryIn,
    TryOut,
)
from chat.api.trying import try_once
from chat.exceptions import because
from chat.models import Lane, RowState, Run, RunRow, RunState, Task
from chat.models.runs import ENDED_RUNS
from chat.reasons import Reason
from chat.runs import changing, control, creation, estimating, progress, retention
from chat.runs.actors import ring_feeder
from chat.runs.creation import NewRun, check_columns, check_fields
from chat.runs.errors import RunErrors, error_groups
from chat.runs.export import STATES, CSVEncoder, as_jsonl, export

router = Router(tags=["runs"])

#: Bytes of payloads of one page of rows.
PAGE_BYTES = 2_097_152
#: Characters of an answer that a row of a list has.
ROW_TEXT_CHARS = 500


def _load(request: HttpRequest, run_id: UUID) -> Run:
    return progress.load(request.auth.user.pk, run_id)  # type: ignore[attr-defined]


# --- Runs ---------------------------------------------------------------------------------------
_EXAMPLE = {"file": "id,Body\n1,A text\n", "format": "csv", "name": "reviews.csv"}
_UPLOAD: dict[str, Any] = {"content": {"multipart/form-data": {"example": _EXAMPLE}}}


@router.post(
    "",
    response={201: RunOut, 200: RunOut},
    url_name="create_run",
    openapi_extra={"requestBody": _UPLOAD},
)
@takes_idempotency_key
def create_run(
    request: AuthenticatedRequest, payload: Form[RunForm], file: File[UploadedFile]
) -> Status[Run]:
    """Make a run of a file (CSV or JSONL, up to 200 MB), sent as multipart/form-data.

    It is validated in the background, then waits for its start. 200: it was made before.
    """
    _refuse_unknown(request)
    key = idempotency_key(request)
    api_key = request.auth.api_key
    new = _new_run(payload, file)
    run, is_new = creation.create_run(
        request.auth.user.pk, api_key.pk if api_key else None, new, file.chunks(), key
    )
    ring_feeder()
    return Status(201 if is_new else 200, run)


def _refuse_unknown(request: HttpRequest) -> None:
    known = set(RunForm.model_fields)
    for name, values in request.POST.lists():
        if name not in known:
            params = {"rule": "additionalProperties"}
            raise InvalidRequest("There is no such field.", field=name, params=params)
        if len(values) > 1:
            raise because(InvalidRequest, Reason("given_twice"), field=name)
    for name, files in request.FILES.lists():
        if name != "file" or len(files) > 1:
            raise because(InvalidRequest, Reason("one_file"), field=name)


def _new_run(payload: RunForm, file: UploadedFile) -> NewRun:
    fields: dict[str, Any] = payload.dict()
    name = payload.name or (file.name or "")[:200]
    fields |= {"name": name, "format": payload.format or _format_of(file.name or "")}
    for field in ("mapping", "options"):
        fields[field] = _object(field, fields[field])
    fields["lane"] = Lane[payload.lane.upper()]
    if "\0" in "".join(value for value in fields.values() if isinstance(value, str)):
        raise because(InvalidRequest, Reason("null_character"))
    return NewRun(**fields)


def _format_of(name: str) -> str:
    ending = name.rpartition(".")[2].lower()
    if ending in ("csv", "tsv", "txt"):
        return "csv"
    if ending in ("jsonl", "ndjson", "json"):
        return "jsonl"
    raise because(InvalidRequest, Reason("unknown_format"), field="format")


def _object(field: str, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = decode_json(text)
    except InvalidRequest as problem:
        raise InvalidRequest(problem.message, field=field, params=problem.params) from None
    if not isinstance(value, dict):
        raise because(InvalidRequest, Reason("not_object"), field=field)
    return value


@router.get("", response=list[RunItem], url_name="list_runs")
@may_read_replica
@paginate(Page)
def list_runs(request: AuthenticatedRequest, filters: Query[RunFilter]) -> QuerySet[Run]:
    """Your runs."""
    own = Run.objects.filter(owner=request.auth.user, kind="run").select_related("model")
    found = matching(own, state=filters.state, scene=filters.scene, **filters.created())
    return ordered(found, filters.ordering.replace("created_at", "id"))


@router.get("/{uuid:run_id}", response=RunOut, url_name="get_run")
def get_run(request: AuthenticatedRequest, run_id: UUID) -> Run:
    """One of your runs, with its counts, its costs, and what is wrong with its file."""
    return _load(request, run_id)


@router.patch("/{uuid:run_id}", response=RunOut)
@if_match(RunOut, get_run)
def change_run(request: AuthenticatedRequest, run_id: UUID, payload: RunPatch) -> Run:
    """Change a run that is ready or paused. Rows that were tried before are pending again where
    they are now asked something else."""
    run = _load(request, run_id)
    fields = payload.dict(exclude_unset=True)
    if run.state not in changing.STATES:
        raise because(Conflict, Reason("pause_run"), field="state")
    if "version" in fields or fields.get("scene", run.scene) != run.scene:
        # The number that is stored is that of the scene before.
        fields["scene_version"] = fields.pop("version", None)
    if "webhook" in fields:
        fields["webhook_id"] = fields.pop("webhook")
    if "lane" in fields:
        fields["lane"] = Lane[fields["lane"].upper()]
    for name, value in fields.items():
        setattr(run, name, value)
    if run.source.get("rows") == "requests" and (run.scene or run.mapping):
        raise because(InvalidRequest, Reason("whole_requests"), field="scene")
    api_key = request.auth.api_key
    check_fields(request.auth.user.pk, api_key.pk if api_key else None, _as_new(run, fields))
    check_columns(run)
    changing.change(run, fields)
    return _load(request, run_id)


def _as_new(run: Run, changed: dict[str, Any]) -> NewRun:
    """What is checked anew: a deadline that has passed may stay."""
    return NewRun(
        name=run.name,
        format=str(run.source["format"]),
        scene=run.scene,
        version=changed.get("scene_version"),
        mapping=run.mapping,
        options=run.options,
        deadline_at=changed.get("deadline_at"),
        webhook=changed.get("webhook_id"),
    )


@router.delete("/{uuid:run_id}", response={204: None})
@if_match(RunOut, get_run)
def delete_run(request: AuthenticatedRequest, run_id: UUID) -> Status[None]:
    """Delete a run that has ended, its rows and their results."""
    run = _load(request, run_id)
    if run.state == RunState.READY:
        control.discard(run)
    if run.state not in ENDED_RUNS:
        raise because(Conflict, Reason("cancel_run"), field="state")
    retention.delete_run(run.pk)
    return Status(204, None)


# --- Rows ---------------------------------------------------------------------------------------
@router.get("/{uuid:run_id}/rows", response=RowPage, url_name="list_run_rows")
def list_run_rows(
    request: AuthenticatedRequest, run_id: UUID, filters: Query[RowFilter]
) -> dict[str, Any]:
    """The rows of a run, in order. A page ends early where rows are large."""
    run = _load(request, run_id)
    rows = RunRow.objects.filter(run=run, number__gt=filters.after).order_by("number")
    rows = matching(rows, state=filters.state, error__code=filters.code)
    sizes = list(rows.values_list("number", "payload_bytes")[: filters.limit + 1])
    numbers: list[int] = []
    total = 0
    for number, size in sizes[: filters.limit]:
        total += size
        if numbers and total > PAGE_BYTES:
            break
        numbers.append(number)
    items = list(rows.filter(number__in=numbers))
    texts = _texts(
        [row.task_id for row in items if row.task_id and row.state == RowState.SUCCEEDED]
    )
    for row in items:
        row.text = texts.get(row.task_id)  # type: ignore[attr-defined]
    has_more = len(numbers) < len(sizes)
    return {"items": items, "next": numbers[-1] if has_more else None}


def _texts(task_ids: list[UUID]) -> dict[UUID | None, str]:
    """The beginnings of these tasks' answers."""
    found = Task.objects.filter(pk__in=task_ids).annotate(start=Left("text", ROW_TEXT_CHARS))
    return dict(found.values_list("pk", "start"))


@router.get("/{uuid:run_id}/errors", response=list[ErrorGroup], url_name="list_run_errors")
def list_run_errors(request: AuthenticatedRequest, run_id: UUID) -> list[RunErrors]:
    """Why rows have failed or are invalid, by code, the most frequent first."""
    return error_groups(_load(request, run_id).pk)


_FILE: dict[Any, Any] = {
    200: {
        "description": "The rows, one a line.",
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"row": 1, "state": "done", "result": {"text": "An answer."}}\n',
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": "row,state,text\r\n1,done,An answer.\r\n",
            },
        },
    }
}


@router.get(
    "/{uuid:run_id}/results",
    url_name="run_results",
    openapi_extra=documented_responses(_FILE),
)
async def get_run_results(
    request: AuthenticatedRequest, run_id: UUID, wanted: Query[ResultsFormat]
) -> StreamingHttpResponse:
    """The rows that have ended, with their answers, as JSONL or CSV. Streamed, in order."""
    run = await in_database(progress.load, request.auth.user.pk, run_id)
    states: list[str] = [wanted.state] if wanted.state else list(STATES)
    if wanted.format == "csv":
        encoder = CSVEncoder(run, is_safe=wanted.spreadsheet, has_bom=wanted.bom)
        content = _with_header(encoder, run, states)
        kind = "text/csv; charset=utf-8"
    else:
        content = export(run, states, as_jsonl)
        kind = "application/x-ndjson"
    name = f"run-{run.pk}.{wanted.format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = while_accessible(content, lost_access(request))
    return StreamingHttpResponse(content, content_type=kind, headers=headers)


async def _with_header(encoder: CSVEncoder, run: Run, states: list[str]) -> AsyncGenerator[bytes]:
    yield encoder.header()
    async for chunk in export(run, states, encoder):
        yield chunk


# --- What can be done ---------------------------------------------------------------------------
@router.post("/{uuid:run_id}/estimate", response=EstimateOut)
def estimate_run(request: AuthenticatedRequest, run_id: UUID) -> estimating.Estimate:
    """What the rows that have not been run will cost, and how long they take."""
    run = _load(request, run_id)
    if run.state == RunState.VALIDATING:
        validating = Reason("run_validating")
        raise because(Conflict, validating, field="state", retry_after_seconds=1)
    return estimating.estimate(run)


@router.post("/{uuid:run_id}/try", response={202: TryOut})
@takes_idempotency_key
def try_run(request: AuthenticatedRequest, run_id: UUID, payload: TryIn = no_body(TryIn)) -> object:
    """Run a few rows that stand for all of them, now. Their results are kept."""
    return try_once(request, _load(request, run_id), payload.rows, _mark)


@idempotent(TryOut)
def _mark(request: AuthenticatedRequest, trial: control.Trial, rows: int) -> Status[TryOut]:
    return Status(202, TryOut(numbers=list(trial.mark(rows))))


@router.post("/{uuid:run_id}/start", response=RunOut)
def start_run(
    request: AuthenticatedRequest, run_id: UUID, payload: StartIn = no_body(StartIn)
) -> Run:
    """Start a run that is ready: now, in the cheapest hours, or at a time. Harmless on one that
    was started so."""
    run = _load(request, run_id)
    was_started = run.state in (RunState.SCHEDULED, RunState.RUNNING)
    if not (was_started and run.start == payload.start):
        control.start(run, payload.start, payload.start_at)
        ring_feeder()
    return _load(request, run_id)


@router.post("/{uuid:run_id}/pause", response=RunOut)
def pause_run(request: AuthenticatedRequest, run_id: UUID) -> Run:
    """Begin no further call. Those that run end, and count. Harmless on a paused run."""
    run = _load(request, run_id)
    if run.state != RunState.PAUSED and not control.pause(run):
        message = f"A run that is {run.state} cannot be paused."
        raise Conflict(message, field="state", params={"rule": "run_state"})
    return _load(request, run_id)


@router.post("/{uuid:run_id}/resume", response=RunOut)
def resume_run(request: AuthenticatedRequest, run_id: UUID) -> Run:
    """Go on with the rows that have not been run. Harmless on a running run."""
    run = _load(request, run_id)
    if run.state != RunState.RUNNING:
        control.resume(run)
        ring_feeder()
    return _load(request, run_id)


@router.post("/{uuid:run_id}/cancel", response=RunOut)
def cancel_run(request: AuthenticatedRequest, run_id: UUID) -> Run:
    """End a run for good, and stop its calls. Results are kept. Harmless on an ended one."""
    control.cancel(_load(request, run_id))
    ring_feeder()
    return _load(request, run_id)


@router.post("/{uuid:run_id}/retry-failed", response=RunOut)
@idempotent(RunOut)
def retry_failed_rows(request: AuthenticatedRequest, run_id: UUID) -> Status[Run]:
    """Run the rows again that failed, expired or were cancelled."""
    control.retry_failed(_load(request, run_id))
    transaction.on_commit(ring_feeder)
    return Status(200, _load(request, run_id))
