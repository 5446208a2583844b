"""REST: AI fields."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from typing import Any

from django.db import transaction
from ninja import Query, Router, Status

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.rest.etags import if_match
from aily.rest.requests import no_body
from chat.runs.actors import ring_feeder
from chat.tables.ai import fields, runs, states
from chat.tables.ai.fields import NewAiField
from chat.tables.api.ai_field_schemas import AiFieldIn, AiFieldOut, AiFieldPatch
from chat.tables.api.ai_run_schemas import (
    EstimateIn,
    RunIn,
    RunsOut,
    ScopeEstimateOut,
    TableRunOut,
    run_of,
)
from chat.tables.api.cell_schemas import StatesOut
from chat.tables.api.fields import ClientQuery
from chat.tables.models import AiField, AiRun
from chat.tables.permissions import Access, get_table, require_access

router = Router(tags=["ai_fields"])

#: Runs of an AI field that are listed.
MAX_RUNS = 100


def find(request: AuthenticatedRequest, ai_field_id: int, access: Access) -> AiField:
    """An AI field of a table that the user has this access to. Raises NotFound and Forbidden."""
    found = fields.get_ai_field(ai_field_id)
    require_access(request.auth.user, found.table, access, fields.no_ai_field())
    return found


def api_key_id(request: AuthenticatedRequest) -> int | None:
    key = request.auth.api_key
    return key.pk if key else None


@router.get("/{int:table_id}/ai-fields", response=list[AiFieldOut], url_name="list_ai_fields")
def list_ai_fields(request: AuthenticatedRequest, table_id: int) -> list[AiField]:
    """The AI fields of a table."""
    return fields.live_ai_fields(get_table(request.auth.user, table_id).pk)


@router.post("/{int:table_id}/ai-fields", response={201: AiFieldOut})
@idempotent(AiFieldOut)
def create_ai_field(
    request: AuthenticatedRequest, table_id: int, payload: AiFieldIn
) -> Status[AiField]:
    """Add an AI field: a scene whose answers fill fields of the table, its outputs."""
    user = request.auth.user
    table = get_table(user, table_id, Access.EDIT)
    given: dict[str, Any] = payload.dict(exclude={"client", "outputs", "version"})
    outputs = [output.output() for output in payload.outputs]
    new = NewAiField(**given, scene_version=payload.version, outputs=outputs)
    return Status(201, fields.add_ai_field(table.pk, new, user, payload.client))


@router.get("/ai-fields/{int:ai_field_id}", response=AiFieldOut, url_name="get_ai_field")
def get_ai_field(request: AuthenticatedRequest, ai_field_id: int) -> AiField:
    """An AI field."""
    return find(request, ai_field_id, Access.READ)


@router.patch("/ai-fields/{int:ai_field_id}", response=AiFieldOut)
@if_match(AiFieldOut, get_ai_field)
def edit_ai_field(
    request: AuthenticatedRequest, ai_field_id: int, payload: AiFieldPatch
) -> AiField:
    """Change an AI field. Answers to what was asked before become stale."""
    row = find(request, ai_field_id, Access.EDIT)
    given: dict[str, Any] = payload.dict(exclude_unset=True, exclude={"client", "outputs"})
    if "version" in given:
        given["scene_version"] = given.pop("version")
    if payload.outputs:
        given["outputs"] = [output.output() for output in payload.outputs]
    return fields.change_ai_field(row, given, request.auth.user, payload.client)


@router.delete("/ai-fields/{int:ai_field_id}", response={204: None})
@if_match(AiFieldOut, get_ai_field)
def delete_ai_field(
    request: AuthenticatedRequest, ai_field_id: int, query: Query[ClientQuery]
) -> Status[None]:
    """Move an AI field and its outputs to the trash, and cancel its runs."""
    row = find(request, ai_field_id, Access.EDIT)
    fields.delete_ai_field(row, request.auth.user, query.client)
    return Status(204, None)


@router.post("/ai-fields/{int:ai_field_id}:restore", response=AiFieldOut)
def restore_ai_field(
    request: AuthenticatedRequest, ai_field_id: int, query: Query[ClientQuery]
) -> AiField:
    """Take an AI field out of the trash, with its outputs and their cells. Harmless on one that is
    not in it."""
    row = fields.get_ai_field(ai_field_id, is_deleted=True)
    require_access(request.auth.user, row.table, Access.EDIT, fields.no_ai_field())
    return fields.restore_ai_field(row, request.auth.user, query.client)


@router.get("/ai-fields/{int:ai_field_id}/states", response=StatesOut)
def count_states(request: AuthenticatedRequest, ai_field_id: int) -> dict[str, object]:
    """How many cells are empty, done, stale, failed, edited: counted now."""
    return {"counts": states.count_states(find(request, ai_field_id, Access.READ))}


# --- Runs ---------------------------------------------------------------------------------------
@router.post("/ai-fields/{int:ai_field_id}:estimate", response=ScopeEstimateOut)
def estimate_ai_field(
    request: AuthenticatedRequest, ai_field_id: int, payload: EstimateIn = no_body(EstimateIn)
) -> dict[str, object]:
    """What a run would cost, and how long it would take. Nothing is stored."""
    row = find(request, ai_field_id, Access.RUN)
    new = runs.NewAiRun(payload.scope.scope(), shares_equal_rows=payload.share_equal)
    found = runs.estimate_scope(request.auth.user, api_key_id(request), row, new)
    survey = found.survey
    counts = {
        "in_scope": survey.in_scope,
        "skipped": survey.total - survey.rows,
        "duplicates": survey.duplicates,
    }
    names = found.estimate.__slots__
    return {**{name: getattr(found.estimate, name) for name in names}, **counts}


@router.post("/ai-fields/{int:ai_field_id}/runs", response={201: RunsOut})
@idempotent(RunsOut)
def create_ai_run(
    request: AuthenticatedRequest, ai_field_id: int, payload: RunIn
) -> Status[dict[str, object]]:
    """Make a run over cells of an AI field: ready, tried on some rows, or started."""
    row = find(request, ai_field_id, Access.RUN)
    made = runs.create_runs(request.auth.user, api_key_id(request), row, payload.new())
    transaction.on_commit(ring_feeder)
    [named] = [ai_run for ai_run in made if ai_run.ai_field_id == row.pk]
    return Status(201, {"id": named.pk, "runs": [run_of(ai_run) for ai_run in made]})


@router.get(
    "/ai-fields/{int:ai_field_id}/runs", response=list[TableRunOut], url_name="list_ai_runs"
)
def list_ai_runs(request: AuthenticatedRequest, ai_field_id: int) -> list[Any]:
    """The latest runs of an AI field, the newest first."""
    row = find(request, ai_field_id, Access.READ)
    runs_of_it = AiRun.objects.select_related("run__model", "run__owner")
    found = runs_of_it.filter(ai_field=row, comparison=None)
    return [run_of(ai_run) for ai_run in found.order_by("-run_id")[:MAX_RUNS]]
