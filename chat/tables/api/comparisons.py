"""REST: comparisons of two configurations of an AI field."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from django.db import transaction
from ninja import Router, Status
from pydantic import JsonValue

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from chat.runs.actors import ring_feeder
from chat.tables.ai import comparisons
from chat.tables.api.ai_fields import api_key_id, find
from chat.tables.api.comparison_schemas import ComparisonIn, ComparisonItem, ComparisonOut
from chat.tables.models import Comparison
from chat.tables.permissions import Access, require_access

router = Router(tags=["ai_fields"])


def _find(
    request: AuthenticatedRequest, comparison_id: int, access: Access = Access.READ
) -> Comparison:
    found = comparisons.get_comparison(comparison_id)
    table = found.ai_field.table
    require_access(request.auth.user, table, access, comparisons.no_comparison())
    return found


@router.post("/ai-fields/{int:ai_field_id}/comparisons", response={201: ComparisonOut})
@idempotent(ComparisonOut)
def create_comparison(
    request: AuthenticatedRequest, ai_field_id: int, payload: ComparisonIn
) -> Status[dict[str, object]]:
    """Ask two configurations about the same rows, chosen by chance. No cell changes."""
    row = find(request, ai_field_id, Access.RUN)
    made = comparisons.compare(
        request.auth.user,
        api_key_id(request),
        row,
        [payload.a.changes(), payload.b.changes()],
        payload.scope.scope(),
        rows=payload.rows,
        is_blind=payload.blind,
        truth=payload.truth,
    )
    transaction.on_commit(ring_feeder)
    return Status(201, {**comparisons.describe(made, request.auth.user)})


@router.get(
    "/ai-fields/{int:ai_field_id}/comparisons",
    response=list[ComparisonItem],
    url_name="list_comparisons",
)
def list_comparisons(request: AuthenticatedRequest, ai_field_id: int) -> list[dict[str, JsonValue]]:
    """The latest 100 comparisons of an AI field, the newest first."""
    return comparisons.list_comparisons(find(request, ai_field_id, Access.READ))


@router.get("/comparisons/{int:comparison_id}", response=ComparisonOut, url_name="get_comparison")
def get_comparison(request: AuthenticatedRequest, comparison_id: int) -> dict[str, object]:
    """Both answers of each row, as far as they are there, and what each side has cost."""
    return {**comparisons.describe(_find(request, comparison_id), request.auth.user)}


@router.post("/comparisons/{int:comparison_id}:reveal", response=ComparisonOut)
def reveal_comparison(request: AuthenticatedRequest, comparison_id: int) -> dict[str, object]:
    """Tell which side is which, and what each has cost."""
    found = _find(request, comparison_id, Access.REVIEW)
    comparisons.reveal(found)
    return {**comparisons.describe(found, request.auth.user)}
