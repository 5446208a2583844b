"""REST: the budgets of all users, for staff. One's own are in chat/api/usage.py."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from decimal import Decimal
from typing import Literal

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import APIKey, User
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema
from aily.rest.writes import add, change
from chat.api.references import referenced
from chat.models import Budget

router = Router(tags=["budgets"])

PeriodName = Literal["day", "week", "month", "total"]
MAX_COUNT = 2**63 - 1


class BudgetItemOut(Schema):
    model_config = example(
        id=5,
        name="Demo, monthly",
        user="demo",
        api_key=None,
        period="month",
        limit_calls=10_000,
        limit_tokens=None,
        limit_money="25.000000",
        currency="USD",
        is_active=True,
    )

    id: int
    name: str
    user: str | None = Field(None, alias="user.username")
    api_key: int | None = Field(None, alias="api_key_id")
    period: PeriodName
    limit_calls: int | None
    limit_tokens: int | None
    limit_money: Decimal | None
    currency: str
    is_active: bool


class BudgetPatch(RequestSchema):
    """User, key, period and currency do not change: what was counted belongs to them."""

    model_config = example(limit_money="50.00")

    name: str = Field("", min_length=1, max_length=100)
    limit_calls: int | None = Field(None, ge=0, le=MAX_COUNT)
    limit_tokens: int | None = Field(None, ge=0, le=MAX_COUNT)
    limit_money: Decimal | None = Field(None, ge=0, max_digits=18, decimal_places=6)
    is_active: bool = True


class BudgetIn(BudgetPatch):
    model_config = example(
        name="Demo, monthly",
        user="demo",
        period="month",
        limit_calls=10_000,
        limit_money="25.00",
        currency="USD",
    )

    name: str = Field(min_length=1, max_length=100)
    user: str | None = Field(None, max_length=150, description="A user's name; or an API key.")
    api_key: int | None = Field(None, description="An API key's id.")
    period: PeriodName = "month"
    currency: str = Field("USD", min_length=3, max_length=3)


class BudgetFilter(Schema):
    user: str | None = Field(None, max_length=150)
    api_key: int | None = Field(None, description="An API key's id.")
    is_active: bool | None = None
    ordering: Literal["name", "-name", "created_at", "-created_at"] = "created_at"


@router.get(
    "/budgets/items",
    operation_id="list_budgets",
    response=list[BudgetItemOut],
    summary="All budgets",
)
@paginate(Page)
def list_items(request: AuthenticatedRequest, filters: Query[BudgetFilter]) -> QuerySet[Budget]:
    require_permission(request.auth.user, "chat.view_budget")
    budgets = matching(
        Budget.objects.select_related("user"),
        user__username=filters.user,
        api_key=filters.api_key,
        is_active=filters.is_active,
    )
    return ordered(budgets, filters.ordering)


@router.post(
    "/budgets/items",
    operation_id="create_budget",
    response={201: BudgetItemOut},
    summary="Give a budget",
)
@idempotent(BudgetItemOut)
def create_item(request: AuthenticatedRequest, payload: BudgetIn) -> Status[Budget]:
    require_permission(request.auth.user, "chat.add_budget")
    fields = payload.dict()
    if payload.user is not None:
        fields["user"] = referenced(User.objects.filter(username=payload.user).first(), "user")
    if payload.api_key is not None:
        fields["api_key"] = referenced(APIKey.objects.filter(pk=payload.api_key).first(), "api_key")
    return Status(201, add(Budget(**fields)))


@router.get(
    "/budgets/items/{int:budget_id}",
    operation_id="get_budget",
    response=BudgetItemOut,
    summary="One budget",
)
def get_item(request: AuthenticatedRequest, budget_id: int) -> Budget:
    require_permission(request.auth.user, "chat.view_budget")
    return get_object_or_404(Budget.objects.select_related("user"), pk=budget_id)


@router.patch(
    "/budgets/items/{int:budget_id}",
    operation_id="edit_budget",
    response=BudgetItemOut,
    summary="Change a budget",
)
@if_match(BudgetItemOut, get_item)
def edit_item(request: AuthenticatedRequest, budget_id: int, payload: BudgetPatch) -> Budget:
    require_permission(request.auth.user, "chat.change_budget")
    budget = get_object_or_404(Budget.objects.select_related("user"), pk=budget_id)
    change(budget, payload.dict(exclude_unset=True))
    return budget


@router.delete(
    "/budgets/items/{int:budget_id}",
    operation_id="delete_budget",
    response={204: None},
    summary="Delete a budget",
)
@if_match(BudgetItemOut, get_item)
def delete_item(request: AuthenticatedRequest, budget_id: int) -> Status[None]:
    require_permission(request.auth.user, "chat.delete_budget")
    get_object_or_404(Budget, pk=budget_id).delete()
    return Status(204, None)
