"""REST: what a user has used, and what is left of the user's budgets."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone
from ninja import Query, Router, Schema
from ninja.pagination import paginate
from pydantic import Field

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.models import User
from aily.database.replica import may_read_replica
from aily.problems import InvalidRequest
from aily.rest.openapi import example
from aily.rest.pages import Page, matching
from chat.accounting.reports import (
    GROUPS,
    MAX_GROUPS,
    BudgetState,
    TooManyGroupsError,
    budgets_of,
    in_days,
    label,
    state,
    usage_by,
    with_current_periods,
)
from chat.api.metadata import METADATA_FILTER, MetadataFilter, with_metadata
from chat.api.references import referenced
from chat.api.task_lists import MAX_ID
from chat.exceptions import because
from chat.models import LedgerEntry
from chat.models.metadata import MAX_LABEL_NAME_CHARS
from chat.reasons import Reason

router = Router(tags=["usage"])

DEFAULT_DAYS = 30
MAX_DAYS = 366

GroupBy = Literal["day", "model", "scene", "api_key", "metadata"]


class UsageFilter(Schema):
    first: date | None = Field(
        None, alias="from", description=f"First day, UTC; default: {DEFAULT_DAYS} days."
    )
    last: date | None = Field(None, alias="to", description="Last day, included; default: today.")
    group_by: GroupBy = "day"
    metadata_key: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_LABEL_NAME_CHARS,
        description="With group_by=metadata: the name in the tasks' metadata to group by.",
    )
    api_key: int | None = Field(None, ge=0, le=MAX_ID, description="An API key's id.")
    model: str | None = Field(None, max_length=100, description="A model's name.")
    scene: str | None = Field(None, max_length=50, description="A scene's slug.")
    metadata: MetadataFilter = Field(default_factory=list, description=METADATA_FILTER)
    user: str | None = Field(None, max_length=150, description="Somebody else's, for staff.")

    def days(self) -> tuple[date, date]:
        """First and last day. Raises InvalidRequest."""
        last = self.last or timezone.now().astimezone(UTC).date()
        try:
            first = self.first or last - timedelta(days=DEFAULT_DAYS - 1)
        except OverflowError:
            raise because(InvalidRequest, Reason("early_day"), field="query.to") from None
        if not 0 <= (last - first).days < MAX_DAYS or last == date.max:
            raise because(
                InvalidRequest, Reason.of("day_range", limit=MAX_DAYS), field="query.from"
            )
        return first, last

    def group(self) -> Combinable:
        """What to group by. Raises InvalidRequest."""
        if (self.group_by == "metadata") != (self.metadata_key is not None):
            raise because(InvalidRequest, Reason("metadata_key"), field="query.metadata_key")
        return label(self.metadata_key) if self.metadata_key else GROUPS[self.group_by]

    def apply(self, entries: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
        entries = matching(
            entries, api_key=self.api_key, model__name=self.model, scene__slug=self.scene
        )
        return entries.filter(with_metadata(self.metadata)) if self.metadata else entries


class Total(Schema):
    model_config = example(
        currency="USD",
        tasks=120,
        estimated=1,
        prompt_tokens=48_000,
        cached_tokens=12_000,
        completion_tokens=9_500,
        money="0.012960",
    )

    currency: str
    tasks: int = Field(description="Tasks that ended, whether they were run or not.")
    estimated: int = Field(
        description="Tasks of which the provider gave no usage, so that it was reckoned."
    )
    prompt_tokens: int
    cached_tokens: int = Field(description="Of the prompt tokens.")
    completion_tokens: int
    money: Decimal


class UsageItem(Total):
    key: str | None = Field(
        description="The day, model, scene, API key's id or value in the metadata; null: none, or "
        "deleted since.",
        examples=["2026-01-31"],
    )


class UsageOut(Schema):
    model_config = example(**{"from": "2026-01-01", "to": "2026-01-31"}, group_by="day")

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    group_by: GroupBy
    metadata_key: str | None
    items: list[UsageItem]
    totals: list[Total] = Field(description="One for each currency.")


class PartOut(Schema):
    model_config = example(
        limit="25.000000", reserved="0.120000", spent="3.400000", left="21.480000"
    )

    limit: Decimal | None
    reserved: Decimal = Field(description="What tasks that have not ended may use.")
    spent: Decimal
    left: Decimal | None


class BudgetOut(Schema):
    model_config = example(
        name="Demo, monthly",
        api_key=None,
        period="month",
        starts_at="2026-01-01T00:00:00Z",
        ends_at="2026-02-01T00:00:00Z",
        currency="USD",
    )

    name: str = Field(alias="budget.name")
    api_key: str | None = Field(description="Beginning of the key it is for; null: all you do.")
    period: Literal["day", "week", "month", "total"] = Field(alias="budget.period")
    starts_at: datetime
    ends_at: datetime | None
    currency: str = Field(alias="budget.currency")
    calls: PartOut
    tokens: PartOut
    money: PartOut

    @staticmethod
    def resolve_api_key(state: BudgetState) -> str | None:
        return state.budget.api_key.prefix if state.budget.api_key else None


def _whose(request: AuthenticatedRequest, username: str | None) -> User:
    if username is None or username == request.auth.user.username:
        return request.auth.user
    require_permission(request.auth.user, "chat.view_ledgerentry")
    user = User.objects.filter(username=username).first()
    return referenced(user, "query.user", Reason.of("no_such_user", name=repr(username)))


@router.get("/usage", response=UsageOut, by_alias=True, summary="Tokens and money used")
@may_read_replica
def get_usage(request: AuthenticatedRequest, filters: Query[UsageFilter]) -> dict[str, object]:
    """By the day on which tasks ended (UTC), the model, the scene, the API key, or a value in the
    tasks' metadata: of those, texts, numbers and booleans of up to 300 characters are kept."""
    group = filters.group()
    first, last = filters.days()
    owner = _whose(request, filters.user)
    entries: QuerySet[LedgerEntry] = LedgerEntry.objects.usage().filter(owner=owner)
    try:
        items = usage_by(filters.apply(in_days(entries, first, last)), group)
    except TooManyGroupsError:
        reason = Reason.of("too_many_groups", limit=MAX_GROUPS)
        raise because(InvalidRequest, reason, field="query.group_by") from None
    return {
        "first": first,
        "last": last,
        "group_by": filters.group_by,
        "metadata_key": filters.metadata_key,
        "items": items,
        "totals": _totals(items),
    }


def _totals(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    totals: dict[str, dict[str, Any]] = {}
    for item in items:
        total = totals.setdefault(item["currency"], {"currency": item["currency"]})
        for name, value in item.items():
            if name not in {"key", "currency"}:
                total[name] = total.get(name, 0) + value
    return list(totals.values())


@router.get(
    "/budgets", operation_id="list_own_budgets", response=list[BudgetOut], summary="Own budgets"
)
@paginate(Page)
def list_budgets(request: AuthenticatedRequest) -> list[BudgetState]:
    """What you may still spend, and until when."""
    budgets = with_current_periods(budgets_of(request.auth.user))
    return [state(budget) for budget in budgets]
