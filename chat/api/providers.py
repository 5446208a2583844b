"""REST: providers and their models, for staff."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from decimal import Decimal
from typing import Any, Literal

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.permissions import require_permission
from aily.etags import if_match
from aily.openapi import example
from aily.problems import InvalidRequest
from aily.rest import Page, RequestSchema, add, change, matching, ordered
from chat.models import LLMModel, Provider

router = Router(tags=["providers"])


# --- Schemas ------------------------------------------------------------------------------------
class ProviderOut(Schema):
    model_config = example(
        name="deepseek",
        base_url="https://api.deepseek.com",
        api_key_env="DEEPSEEK_API_KEY",
        is_enabled=True,
        is_simulated=False,
    )

    name: str
    base_url: str
    api_key_env: str = Field(description="The environment variable that holds the key.")
    is_enabled: bool
    is_simulated: bool


class ProviderPatch(RequestSchema):
    model_config = example(is_enabled=False)

    base_url: str = ""
    api_key_env: str = ""
    is_enabled: bool = True
    is_simulated: bool = False


class ProviderIn(ProviderPatch):
    model_config = example(
        name="deepseek", base_url="https://api.deepseek.com", api_key_env="DEEPSEEK_API_KEY"
    )

    name: str
    base_url: str


class ModelOut(Schema):
    model_config = example(
        name="deepseek-chat",
        provider="simulator",
        upstream_name="",
        max_concurrency=500,
        default_max_tokens=4096,
        params={"temperature": 0.2},
        input_price="0.280000",
        cached_input_price="0.028000",
        output_price="0.420000",
        currency="USD",
        is_enabled=True,
        is_default=False,
        is_restricted=False,
    )

    name: str
    provider: str = Field(alias="provider.name")
    upstream_name: str
    max_concurrency: int
    default_max_tokens: int
    params: dict[str, Any]
    input_price: Decimal
    cached_input_price: Decimal
    output_price: Decimal
    currency: str
    is_enabled: bool
    is_default: bool
    is_restricted: bool = Field(description="Only for those with permission to use it.")


class ModelPatch(RequestSchema):
    model_config = example(max_concurrency=200, output_price="0.42")

    provider: str = Field("", description="A provider's name.")
    upstream_name: str = ""
    max_concurrency: int = 500
    default_max_tokens: int = Field(
        4096, description="What a call under a budget is held to if it names no max_tokens."
    )
    params: dict[str, JsonValue] = Field(default_factory=dict)
    input_price: Decimal = Decimal(0)
    cached_input_price: Decimal = Decimal(0)
    output_price: Decimal = Decimal(0)
    currency: str = "USD"
    is_enabled: bool = True
    is_default: bool = Field(False, description="Takes the place of the model that was it.")
    is_restricted: bool = False

    def given(self) -> dict[str, Any]:
        """The fields of the request, its provider looked up. Raises InvalidRequest."""
        fields = self.dict(exclude_unset=True)
        if "provider" in fields:
            fields["provider"] = Provider.objects.filter(name=self.provider).first()
            if fields["provider"] is None:
                raise InvalidRequest(f"There is no provider {self.provider!r}.", field="provider")
        return fields


class ModelIn(ModelPatch):
    model_config = example(
        name="deepseek-chat",
        provider="simulator",
        max_concurrency=500,
        params={"temperature": 0.2},
        input_price="0.28",
        cached_input_price="0.028",
        output_price="0.42",
    )

    name: str
    provider: str


class ProviderFilter(Schema):
    is_enabled: bool | None = None
    ordering: Literal["name", "-name"] = "name"


class ModelFilter(Schema):
    provider: str | None = None
    is_enabled: bool | None = None
    ordering: Literal[
        "name", "-name", "input_price", "-input_price", "output_price", "-output_price"
    ] = "name"


# --- Providers ----------------------------------------------------------------------------------
@router.get("/providers", response=list[ProviderOut], summary="Providers")
@paginate(Page)
def list_providers(
    request: AuthenticatedRequest, filters: Query[ProviderFilter]
) -> QuerySet[Provider]:
    require_permission(request.auth.user, "chat.view_provider")
    providers = matching(Provider.objects.all(), is_enabled=filters.is_enabled)
    return ordered(providers, filters.ordering)


@router.post("/providers", response={201: ProviderOut}, summary="Add a provider")
@idempotent(ProviderOut)
def create_provider(request: AuthenticatedRequest, payload: ProviderIn) -> Status[Provider]:
    require_permission(request.auth.user, "chat.add_provider")
    return Status(201, add(Provider(**payload.dict())))


@router.get("/providers/{slug:name}", response=ProviderOut, summary="One provider")
def get_provider(request: AuthenticatedRequest, name: str) -> Provider:
    require_permission(request.auth.user, "chat.view_provider")
    return get_object_or_404(Provider, name=name)


@router.patch("/providers/{slug:name}", response=ProviderOut, summary="Change a provider")
@if_match(ProviderOut, get_provider)
def edit_provider(request: AuthenticatedRequest, name: str, payload: ProviderPatch) -> Provider:
    require_permission(request.auth.user, "chat.change_provider")
    provider = get_object_or_404(Provider, name=name)
    change(provider, payload.dict(exclude_unset=True))
    return provider


@router.delete("/providers/{slug:name}", response={204: None}, summary="Delete a provider")
@if_match(ProviderOut, get_provider)
def delete_provider(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.delete_provider")
    get_object_or_404(Provider, name=name).delete()
    return Status(204, None)


# --- Models -------------------------------------------------------------------------------------
@router.get("/models", response=list[ModelOut], summary="Models")
@paginate(Page)
def list_models(request: AuthenticatedRequest, filters: Query[ModelFilter]) -> QuerySet[LLMModel]:
    require_permission(request.auth.user, "chat.view_llmmodel")
    models = matching(
        LLMModel.objects.select_related("provider"),
        provider__name=filters.provider,
        is_enabled=filters.is_enabled,
    )
    return ordered(models, filters.ordering)


@router.post("/models", response={201: ModelOut}, summary="Add a model")
@idempotent(ModelOut)
def create_model(request: AuthenticatedRequest, payload: ModelIn) -> Status[LLMModel]:
    require_permission(request.auth.user, "chat.add_llmmodel")
    return Status(201, add(LLMModel(**payload.given())))


@router.get("/models/{path:name}", response=ModelOut, summary="One model")
def get_model(request: AuthenticatedRequest, name: str) -> LLMModel:
    require_permission(request.auth.user, "chat.view_llmmodel")
    return get_object_or_404(LLMModel.objects.select_related("provider"), name=name)


@router.patch("/models/{path:name}", response=ModelOut, summary="Change a model")
@if_match(ModelOut, get_model)
def edit_model(request: AuthenticatedRequest, name: str, payload: ModelPatch) -> LLMModel:
    require_permission(request.auth.user, "chat.change_llmmodel")
    model = get_object_or_404(LLMModel.objects.select_related("provider"), name=name)
    change(model, payload.given())
    return model


@router.delete("/models/{path:name}", response={204: None}, summary="Delete a model")
@if_match(ModelOut, get_model)
def delete_model(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.delete_llmmodel")
    get_object_or_404(LLMModel, name=name).delete()
    return Status(204, None)
