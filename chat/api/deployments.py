"""REST: the further deployments of models, for staff who see or change models."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from decimal import Decimal
from typing import Literal

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema
from aily.rest.writes import add, change
from chat.api.references import referenced
from chat.models import Deployment, LLMModel, Provider
from chat.reasons import Reason

router = Router(tags=["providers"])

_EXAMPLE: dict[str, JsonValue] = {
    "model": "deepseek-v4-pro",
    "name": "second-account",
    "provider": "simulator",
    "upstream_name": "",
    "max_concurrency": 200,
    "requests_per_minute": 3000,
    "tokens_per_minute": 2_000_000,
    "weight": 1,
    "input_price": "0.14",
    "cached_input_price": "0.014",
    "output_price": "0.28",
}


class DeploymentOut(Schema):
    model_config = example(id=3, **_EXAMPLE, paused_at=None)

    id: int
    model: str = Field(alias="model.name")
    name: str
    provider: str = Field(alias="provider.name")
    upstream_name: str
    max_concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    weight: int
    paused_at: datetime | None = Field(description="Since when staff have it take no tasks.")
    input_price: Decimal | None
    cached_input_price: Decimal | None
    output_price: Decimal | None


class DeploymentPatch(RequestSchema):
    """Its model does not change."""

    model_config = example(weight=3, max_concurrency=400)

    name: str = Field("", description="Unique among the deployments of its model.")
    provider: str = Field("", description="A provider's name.")
    upstream_name: str = Field("", description="What the provider calls the model; empty: so.")
    max_concurrency: int = 500
    requests_per_minute: int | None = Field(None, description="null: any number.")
    tokens_per_minute: int | None = Field(None, description="null: any number.")
    weight: int = Field(
        1, description="How much fuller than one of weight 1 it is kept; 0: it is not called."
    )
    input_price: Decimal | None = Field(
        None, description="In the model's currency. All three prices, or null for the model's."
    )
    cached_input_price: Decimal | None = None
    output_price: Decimal | None = None

    def given(self) -> dict[str, object]:
        """The fields of the request, its provider looked up. Raises InvalidRequest."""
        fields = self.dict(exclude_unset=True)
        if "provider" in fields:
            fields["provider"] = referenced(
                Provider.objects.filter(name=self.provider).first(),
                "provider",
                Reason.of("no_such_provider", name=repr(self.provider)),
            )
        return fields


class DeploymentIn(DeploymentPatch):
    model_config = example(**_EXAMPLE)

    model: str = Field(max_length=100, description="A model's name.")
    name: str
    provider: str


class DeploymentFilter(Schema):
    model: str | None = Field(None, max_length=100)
    provider: str | None = None
    ordering: Literal["name", "-name", "weight", "-weight"] = "name"


_ROWS = Deployment.objects.select_related("model__provider", "provider")


@router.get(
    "/deployments",
    response=list[DeploymentOut],
    summary="Further deployments of models",
    description="A model's own deployment is in its own fields.",
)
@paginate(Page)
def list_deployments(
    request: AuthenticatedRequest, filters: Query[DeploymentFilter]
) -> QuerySet[Deployment]:
    require_permission(request.auth.user, "chat.view_llmmodel")
    rows = matching(_ROWS.all(), model__name=filters.model, provider__name=filters.provider)
    return ordered(rows, filters.ordering)


@router.post("/deployments", response={201: DeploymentOut}, summary="Add a deployment to a model")
@idempotent(DeploymentOut)
def create_deployment(request: AuthenticatedRequest, payload: DeploymentIn) -> Status[Deployment]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    fields = payload.given()
    with transaction.atomic():
        # Locked, as two requests at once would both take the last place.
        models = LLMModel.objects.select_for_update(no_key=True)
        fields["model"] = referenced(
            models.filter(name=payload.model).first(),
            "model",
            Reason.of("no_model", name=repr(payload.model)),
        )
        return Status(201, add(Deployment(**fields)))


@router.get(
    "/deployments/{int:deployment_id}", response=DeploymentOut, summary="One further deployment"
)
def get_deployment(request: AuthenticatedRequest, deployment_id: int) -> Deployment:
    require_permission(request.auth.user, "chat.view_llmmodel")
    return get_object_or_404(_ROWS, pk=deployment_id)


@router.patch(
    "/deployments/{int:deployment_id}", response=DeploymentOut, summary="Change a deployment"
)
@if_match(DeploymentOut, get_deployment)
def edit_deployment(
    request: AuthenticatedRequest, deployment_id: int, payload: DeploymentPatch
) -> Deployment:
    require_permission(request.auth.user, "chat.change_llmmodel")
    deployment = get_object_or_404(_ROWS, pk=deployment_id)
    change(deployment, payload.given())
    return deployment


@router.delete(
    "/deployments/{int:deployment_id}", response={204: None}, summary="Delete a deployment"
)
@if_match(DeploymentOut, get_deployment)
def delete_deployment(request: AuthenticatedRequest, deployment_id: int) -> Status[None]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    get_object_or_404(Deployment, pk=deployment_id).delete()
    return Status(204, None)
