"""REST: pauses of models, deployments and providers, for staff."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal

from django.http import Http404
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from aily.rest.openapi import documented_responses, example
from aily.rest.pages import Page
from chat.models import Deployment, LLMModel, Provider
from chat.services import pauses

router = Router(tags=["providers"])


class PauseOut(Schema):
    model_config = example(
        kind="model",
        name="deepseek-chat",
        cause="retry_after",
        until="2026-11-29T15:00:00Z",
        seconds_left=42.5,
        opened=0,
    )

    kind: Literal["model", "provider", "deployment"]
    name: str = Field(description="Of a deployment: <model>@<deployment>.")
    cause: Literal["staff", "retry_after", "breaker"] = Field(
        description="staff: somebody has paused it, and tasks are held until it is lifted. "
        "retry_after: a provider said that there are too many calls (429). breaker: one fails, and "
        "is left alone. Of a model with several deployments these two are each deployment's."
    )
    until: datetime | None = Field(description="null: until it is lifted.")
    seconds_left: float | None = Field(
        description="0: a task may find out, or does, whether the provider is back."
    )
    opened: int = Field(description="How often in a row a provider was left alone.")


@router.get("/pauses", response=list[PauseOut], summary="Pauses and open breakers")
@paginate(Page)
def list_pauses(request: AuthenticatedRequest) -> list[pauses.Pause]:
    require_permission(request.auth.user, "chat.view_provider")
    return pauses.pauses()


@router.put(
    "/pauses/providers/{slug:name}",
    response={204: None},
    summary="Pause a provider",
    description="Its models' tasks are accepted and held; calls that run go on.",
    openapi_extra=documented_responses({}, 404),
)
def pause_provider(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_provider")
    pauses.pause(get_object_or_404(Provider, name=name))
    return Status(204, None)


@router.put(
    "/pauses/models/{path:name}",
    response={204: None},
    summary="Pause a model",
    description="Its tasks are accepted and held; calls that run go on.",
    openapi_extra=documented_responses({}, 404),
)
def pause_model(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    pauses.pause(get_object_or_404(LLMModel, name=name))
    return Status(204, None)


@router.delete(
    "/pauses/providers/{slug:name}",
    operation_id="lift_provider_pause",
    response={204: None},
    summary="Call a provider again that is paused or left alone",
    openapi_extra=documented_responses({}, 404),
)
def lift_provider(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_provider")
    pauses.lift_provider(get_object_or_404(Provider, name=name))
    return Status(204, None)


@router.delete(
    "/pauses/models/{path:name}",
    operation_id="lift_model_pause",
    response={204: None},
    summary="Call a model again that is paused",
    openapi_extra=documented_responses({}, 404),
)
def lift_model(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    pauses.lift_model(get_object_or_404(LLMModel, name=name))
    return Status(204, None)


_DEPLOYMENT = "/pauses/deployments/{path:deployment}"


@router.put(
    _DEPLOYMENT,
    response={204: None},
    summary="Pause a deployment",
    description="Named <model>@<deployment>; a model's own is called after its provider. It takes "
    "no tasks: others do, or they are held. Calls that run go on.",
    openapi_extra=documented_responses({}, 404),
)
def pause_deployment(request: AuthenticatedRequest, deployment: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    pauses.pause(_find_deployment(deployment))
    return Status(204, None)


@router.delete(
    _DEPLOYMENT,
    operation_id="lift_deployment_pause",
    response={204: None},
    summary="Call a deployment again that is paused or left alone",
    openapi_extra=documented_responses({}, 404),
)
def lift_deployment(request: AuthenticatedRequest, deployment: str) -> Status[None]:
    require_permission(request.auth.user, "chat.change_llmmodel")
    pauses.lift_deployment(_find_deployment(deployment))
    return Status(204, None)


def _find_deployment(name: str) -> Deployment:
    deployment = pauses.find_deployment(name)
    if deployment is None:
        raise Http404
    return deployment
