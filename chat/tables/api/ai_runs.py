"""REST: runs of AI fields, and what is known of single cells."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from collections.abc import Collection
from typing import Any
from uuid import UUID

from ninja import Query, Router, Status

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent, takes_idempotency_key
from aily.problems import Conflict, Forbidden
from aily.rest.etags import if_match
from aily.rest.pages import matching
from aily.rest.requests import no_body
from chat.api.run_schemas import ErrorGroup, EstimateOut
from chat.api.trying import try_once
from chat.exceptions import because
from chat.models import Run, RunRow, RunState
from chat.reasons import Reason
from chat.runs import control, estimating
from chat.runs.actors import ring_feeder
from chat.runs.errors import error_groups
from chat.tables.ai import provenance, reverting, reviews, runs
from chat.tables.ai.visibility import hidden_inputs, shown_inputs
from chat.tables.api.ai_fields import find
from chat.tables.api.ai_run_schemas import (
    AiRunStartIn,
    AiRunTryIn,
    LimitsIn,
    RevertedOut,
    RevertIn,
    RunRowsOut,
    RunRowsQuery,
    TableRunOut,
    TriedOut,
    run_of,
)
from chat.tables.api.cell_schemas import CellOut, ReviewIn
from chat.tables.models import AiRun
from chat.tables.permissions import Access, get_table, require_access

router = Router(tags=["ai_fields"])

MAX_RUNS = 100


def _find(request: AuthenticatedRequest, run_id: UUID, access: Access = Access.RUN) -> AiRun:
    found = runs.get_ai_run(run_id)
    require_access(request.auth.user, found.table, access, runs.no_run())
    return found


def _find_own(request: AuthenticatedRequest, run_id: UUID) -> AiRun:
    """A run of the caller's own. Raises Forbidden for another's, whose owner would pay."""
    found = _find(request, run_id)
    if found.run.owner_id != request.auth.user.pk:
        raise because(Forbidden, Reason("run_of_another"))
    return found


def _shown(run_id: UUID) -> Any:
    return run_of(runs.get_ai_run(run_id))


@router.get("/{int:table_id}/runs", response=list[TableRunOut], url_name="list_table_runs")
def list_table_runs(request: AuthenticatedRequest, table_id: int) -> list[Any]:
    """The latest runs of all AI fields of a table, the newest first."""
    table = get_table(request.auth.user, table_id)
    runs_of_it = AiRun.objects.select_related("run__model", "run__owner")
    found = runs_of_it.filter(table=table, comparison=None)
    return [run_of(ai_run) for ai_run in found.order_by("-run_id")[:MAX_RUNS]]


@router.get("/runs/{uuid:run_id}", response=TableRunOut, url_name="get_table_run")
def get_table_run(request: AuthenticatedRequest, run_id: UUID) -> Any:
    """A run, with its counts and costs. The socket's `run.subscribe` follows it."""
    return run_of(_find(request, run_id, Access.READ))


@router.patch("/runs/{uuid:run_id}", response=TableRunOut)
@if_match(TableRunOut, get_table_run)
def change_table_run(request: AuthenticatedRequest, run_id: UUID, payload: LimitsIn) -> Any:
    """Change the limits of a run of yours that is ready or paused."""
    _find_own(request, run_id)
    fields = payload.dict(exclude_unset=True)
    states = [RunState.READY, RunState.PAUSED]
    if not Run.objects.filter(pk=run_id, state__in=states).update(**fields):
        raise because(Conflict, Reason("pause_run"), field="state")
    return _shown(run_id)


@router.get("/runs/{uuid:run_id}/rows", response=RunRowsOut, url_name="list_table_run_rows")
def list_table_run_rows(
    request: AuthenticatedRequest, run_id: UUID, filters: Query[RunRowsQuery]
) -> dict[str, object]:
    """The rows of a run in their order, with what they asked and what became of them."""
    table_id = _find(request, run_id, Access.READ).table_id
    hidden = hidden_inputs(request.auth.user, table_id)
    rows = RunRow.objects.filter(run=run_id, number__gt=filters.after).order_by("number")
    rows = matching(rows, state=filters.state, error__code=filters.code)
    found = list(rows[: filters.limit + 1])
    items = [_row(row, hidden) for row in found[: filters.limit]]
    has_more = len(found) > filters.limit
    return {"items": items, "next": found[filters.limit - 1].number if has_more else None}


def _row(row: RunRow, hidden: Collection[str]) -> dict[str, object]:
    names = (
        *("number", "state", "error", "task_id", "tries", "prompt_tokens", "completion_tokens"),
        *("cost", "ended_at"),
    )
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "row": int(row.key), "inputs": shown_inputs(row.payload, hidden)}


@router.get(
    "/runs/{uuid:run_id}/errors", response=list[ErrorGroup], url_name="list_table_run_errors"
)
def list_table_run_errors(request: AuthenticatedRequest, run_id: UUID) -> list[Any]:
    """Why rows have failed or were skipped, by code, the most frequent first."""
    _find(request, run_id, Access.READ)
    return error_groups(run_id)


# --- What can be done ---------------------------------------------------------------------------
@router.post("/runs/{uuid:run_id}:estimate", response=EstimateOut)
def estimate_table_run(request: AuthenticatedRequest, run_id: UUID) -> estimating.Estimate:
    """What the rows that have not been run will cost. After a try, by what it has cost."""
    return estimating.estimate(_find(request, run_id).run)


@router.post("/runs/{uuid:run_id}:try", response=TriedOut)
@takes_idempotency_key
def try_table_run(
    request: AuthenticatedRequest, run_id: UUID, payload: AiRunTryIn = no_body(AiRunTryIn)
) -> object:
    """Run a few rows that stand for all of them, now. Their answers are kept."""
    return try_once(request, _find_own(request, run_id).run, payload.rows, _mark)


@idempotent(TriedOut)
def _mark(request: AuthenticatedRequest, trial: control.Trial, rows: int) -> Status[TriedOut]:
    return Status(200, TriedOut(rows=[int(key) for key in trial.mark(rows).values()]))


@router.post("/runs/{uuid:run_id}:start", response=TableRunOut)
def start_table_run(
    request: AuthenticatedRequest, run_id: UUID, payload: AiRunStartIn = no_body(AiRunStartIn)
) -> Any:
    """Start a run that is ready: now, in the cheapest hours, or at a time. Harmless on one that
    was started so."""
    run = _find_own(request, run_id).run
    was_started = run.state in (RunState.SCHEDULED, RunState.RUNNING)
    if not (was_started and run.start == payload.start):
        control.start(run, payload.start, payload.start_at)
        ring_feeder()
    return _shown(run_id)


@router.post("/runs/{uuid:run_id}:pause", response=TableRunOut)
def pause_table_run(request: AuthenticatedRequest, run_id: UUID) -> Any:
    """Begin no further call. Those that run end, and count. Harmless on a paused run."""
    run = _find(request, run_id).run
    if run.state != RunState.PAUSED and not control.pause(run):
        message = f"A run that is {run.state} cannot be paused."
        raise Conflict(message, field="state", params={"rule": "run_state"})
    return _shown(run_id)


@router.post("/runs/{uuid:run_id}:resume", response=TableRunOut)
def resume_table_run(request: AuthenticatedRequest, run_id: UUID) -> Any:
    """Go on with the rows that have not been run. Harmless on a running run."""
    run = _find_own(request, run_id).run
    if run.state != RunState.RUNNING:
        control.resume(run)
        ring_feeder()
    return _shown(run_id)


@router.post("/runs/{uuid:run_id}:cancel", response=TableRunOut)
def cancel_table_run(request: AuthenticatedRequest, run_id: UUID) -> Any:
    """End a run for good, and stop its calls. Cells keep what they hold. Harmless on an ended
    one."""
    run = _find(request, run_id).run
    if not (run.state == RunState.READY and control.discard(run)):
        control.cancel(run)
    ring_feeder()
    return _shown(run_id)


@router.post("/runs/{uuid:run_id}:retry-failed", response=TableRunOut)
def retry_failed_cells(request: AuthenticatedRequest, run_id: UUID) -> Any:
    """Run the rows again that failed, expired or were cancelled."""
    control.retry_failed(_find_own(request, run_id).run)
    ring_feeder()
    return _shown(run_id)


@router.post("/runs/{uuid:run_id}:revert", response=RevertedOut)
def revert_table_run(
    request: AuthenticatedRequest, run_id: UUID, payload: RevertIn = no_body(RevertIn)
) -> RevertedOut:
    """Give cells that the run has filled what they held before, but for those that were edited or
    filled again since."""
    found = _find(request, run_id)
    return RevertedOut(rows=reverting.revert(found, request.auth.user.pk, payload.client))


# --- Cells --------------------------------------------------------------------------------------
@router.get("/cells/{int:ai_field_id}/{int:row_id}", response=CellOut, url_name="get_cell")
def get_cell(request: AuthenticatedRequest, ai_field_id: int, row_id: int) -> dict[str, object]:
    """An answer with all that is known of it: version, model, tokens, cost, inputs, history."""
    ai_field = find(request, ai_field_id, Access.READ)
    row_id = min(row_id, 2**63 - 1)
    return {**provenance.describe_cell(ai_field, row_id, request.auth.user)}


@router.put("/cells/{int:ai_field_id}/{int:row_id}/review", response=CellOut)
def review_cell(
    request: AuthenticatedRequest, ai_field_id: int, row_id: int, payload: ReviewIn
) -> dict[str, object]:
    """Say what you think of an answer, in place of what was said before."""
    ai_field = find(request, ai_field_id, Access.REVIEW)
    reviews.review(
        ai_field,
        min(row_id, 2**63 - 1),
        request.auth.user.pk,
        thumb=payload.thumb,
        verdict=payload.verdict,
        note=payload.note,
    )
    return {**provenance.describe_cell(ai_field, row_id, request.auth.user)}
