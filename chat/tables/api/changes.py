"""REST: the log of changes of a table."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from ninja import Query, Router, Schema
from ninja.pagination import paginate
from pydantic import Field

from accounts.authentication import AuthenticatedRequest
from aily.database.replica import may_read_replica
from aily.rest.openapi import example
from aily.rest.pages import Page, matching
from chat.tables.models import Change
from chat.tables.permissions import get_table

router = Router(tags=["tables"])


class ChangeOut(Schema):
    model_config = example(
        id=7,
        rev=42,
        user="alice",
        client="tab-1",
        kind="rows",
        rows=3,
        batch=None,
        is_undoable=True,
        created_at="2026-01-31T12:00:00Z",
        undone_at=None,
    )

    id: int
    rev: int
    user: str | None = Field(None, alias="user.username")
    client: str
    kind: str
    rows: int = Field(description="How many it changed.")
    batch: UUID | None = Field(None, description="The import or run that it is part of.")
    is_undoable: bool = Field(description="False: it is undone as a whole, or not at all.")
    created_at: datetime
    undone_at: datetime | None


class ChangeFilter(Schema):
    kind: Literal["rows", "field", "import", "run", "revert"] | None = None
    user: str | None = Field(None, max_length=150, description="By name.")
    batch: UUID | None = None


@router.get("/{int:table_id}/changes", response=list[ChangeOut], url_name="list_changes")
@may_read_replica
@paginate(Page)
def list_changes(
    request: AuthenticatedRequest, table_id: int, filters: Query[ChangeFilter]
) -> QuerySet[Change]:
    """What was changed in a table, by whom and when, the newest first."""
    table = get_table(request.auth.user, table_id)
    changes = Change.objects.filter(table=table).select_related("user")
    wanted = {"kind": filters.kind, "user__username": filters.user, "batch": filters.batch}
    found = matching(changes, **wanted).order_by("-rev", "-id").defer("inverse")
    has_inverse = ExpressionWrapper(Q(inverse__isnull=False), output_field=BooleanField())
    return found.annotate(is_undoable=has_inverse)
