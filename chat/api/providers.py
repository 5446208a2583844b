"""REST: providers and their models, for staff."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from decimal import Decimal
from typing import Literal

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent, takes_idempotency_key
from aily.database.threads import in_database
from aily.problems import InvalidRequest
from aily.rest.etags import if_match, takes_if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema
from aily.rest.writes import add, change
from chat.api.references import referenced
from chat.models import LLMModel, Provider
from chat.models.provider_fields import KEY_VARIABLE_RULE, MAX_HEADERS, MAX_KEYS
from chat.reasons import Reason
from chat.services import providers
from chat.services.parameters import parameter_errors
from chat.services.providers import Addresses

router = Router(tags=["providers"])

StructuredOutputName = Literal["", "native", "json_object", "prompt"]
_STRUCTURED_OUTPUT = (
    "How it is asked for an answer that fits a JSON Schema. native: as response_format. "
    "json_object: in JSON mode, with the schema in the prompt. prompt: by the prompt alone. Empty: "
    "as its host is known to want it; else natively, and in JSON mode once it has refused that."
)
_MODELS_STRUCTURED_OUTPUT = "As the provider's, whose it takes the place of. Empty: the provider's."


# --- Schemas ------------------------------------------------------------------------------------
class ProviderOut(Schema):
    model_config = example(
        name="azure",
        base_url="https://name.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
        is_enabled=True,
        paused_at=None,
        is_simulated=False,
        public_only=False,
        api_key_env="",
        has_api_key=True,
        key_hint="…c3f9",
        key_header="api-key",
        header_names=["x-ms-client"],
        request_fields={"max_tokens": "max_completion_tokens"},
        structured_output="native",
        connect_seconds=None,
        first_token_seconds=300,
        between_tokens_seconds=None,
        total_seconds=1800,
        proxy_url="http://proxy.example:3128",
        has_proxy_credentials=True,
        ca_bundle="",
        secrets_changed_at="2026-01-31T12:00:00Z",
    )

    name: str
    base_url: str
    is_enabled: bool
    paused_at: datetime | None = Field(description="Since when staff have it wait.")
    is_simulated: bool
    public_only: bool = Field(
        description="Its addresses were given by somebody who is no superuser: calls go to the "
        "public internet only."
    )
    api_key_env: str = Field(description="The environment variables that hold its keys.")
    has_api_key: bool = Field(description="Whether keys are stored. They are never shown.")
    key_hint: str = Field(description="The last characters of each stored key.")
    key_header: str = Field(description="The header of the key; empty: Authorization: Bearer.")
    header_names: list[str] = Field(description="Extra headers. Their values are never shown.")
    request_fields: dict[str, str | None]
    structured_output: str = Field(description=_STRUCTURED_OUTPUT)
    connect_seconds: float | None
    first_token_seconds: float | None
    between_tokens_seconds: float | None
    total_seconds: float | None
    proxy_url: str
    has_proxy_credentials: bool
    ca_bundle: str
    secrets_changed_at: datetime | None


class ProviderPatch(RequestSchema):
    model_config = example(
        key_header="api-key",
        api_keys=["8c1f..."],
        extra_headers={"x-ms-client": "aily"},
        request_fields={"max_tokens": "max_completion_tokens"},
    )

    base_url: str = Field(
        "", description="Up to /chat/completions, which is put before a query. No key in it."
    )
    is_enabled: bool = True
    is_simulated: bool = False
    public_only: bool | None = Field(
        None, description="For superusers: whether calls go to the public internet only."
    )
    api_key_env: str = Field("", description=f"{KEY_VARIABLE_RULE}; several with commas.")
    api_keys: list[str] = Field(
        default_factory=list,
        max_length=MAX_KEYS,
        description="Write-only, stored encrypted. Replaces all; calls take turns between them.",
    )
    key_header: str = Field(
        "", description="Such as api-key. Empty: the key is sent as Authorization: Bearer."
    )
    extra_headers: dict[str, str | None] = Field(
        default_factory=dict,
        max_length=2 * MAX_HEADERS,
        description="Write-only, stored encrypted. Each is set, or removed by null; others stay.",
    )
    request_fields: dict[str, str | None] = Field(
        default_factory=dict,
        description="Fields of the request to leave out (null) or to send by another name.",
    )
    structured_output: StructuredOutputName = Field("", description=_STRUCTURED_OUTPUT)
    connect_seconds: float | None = Field(None, description="Null: the setting's.")
    first_token_seconds: float | None = None
    between_tokens_seconds: float | None = None
    total_seconds: float | None = None
    proxy_url: str = Field("", description="Such as http://proxy.example:3128.")
    proxy_credentials: str = Field(
        "", description="user:password. Write-only, stored encrypted; empty: none."
    )
    ca_bundle: str = Field("", description="PEM, in place of the system's authorities.")


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
        capability="chat",
        max_concurrency=500,
        requests_per_minute=None,
        tokens_per_minute=None,
        weight=1,
        own_paused_at=None,
        default_max_tokens=4096,
        params={"temperature": 0.2},
        structured_output="",
        input_price="0.280000",
        cached_input_price="0.028000",
        output_price="0.420000",
        currency="USD",
        is_enabled=True,
        paused_at=None,
        is_default=False,
        is_restricted=False,
    )

    name: str
    provider: str = Field(alias="provider.name")
    upstream_name: str
    capability: Literal["chat", "embeddings"] = Field(
        description="What it answers with: text, or vectors."
    )
    max_concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    weight: int = Field(description="Of its own deployment, beside further ones.")
    default_max_tokens: int
    params: dict[str, object]
    structured_output: str = Field(description=_MODELS_STRUCTURED_OUTPUT)
    input_price: Decimal
    cached_input_price: Decimal
    output_price: Decimal
    currency: str
    is_enabled: bool
    paused_at: datetime | None = Field(description="Since when staff have it wait.")
    own_paused_at: datetime | None = Field(
        description="Since when staff have its own deployment take no tasks."
    )
    is_default: bool
    is_restricted: bool = Field(description="Only for those with permission to use it.")


class ModelPatch(RequestSchema):
    model_config = example(max_concurrency=200, output_price="0.42")

    provider: str = Field("", description="A provider's name.")
    upstream_name: str = ""
    capability: Literal["chat", "embeddings"] = "chat"
    max_concurrency: int = 500
    requests_per_minute: int | None = Field(None, description="null: any number.")
    tokens_per_minute: int | None = Field(None, description="null: any number.")
    weight: int = Field(1, description="Beside further deployments; 0: it is not called.")
    default_max_tokens: int = Field(
        4096, description="What a call under a budget is held to if it names no max_tokens."
    )
    params: dict[str, JsonValue] = Field(default_factory=dict)
    structured_output: StructuredOutputName = Field("", description=_MODELS_STRUCTURED_OUTPUT)
    input_price: Decimal = Decimal(0)
    cached_input_price: Decimal = Decimal(0)
    output_price: Decimal = Decimal(0)
    currency: str = "USD"
    is_enabled: bool = True
    is_default: bool = Field(False, description="Takes the place of the model that was it.")
    is_restricted: bool = False

    def given(self) -> dict[str, object]:
        """The fields of the request, its provider looked up. Raises InvalidRequest."""
        fields = self.dict(exclude_unset=True)
        for error in parameter_errors(self.params):
            raise InvalidRequest(error.message, field=error.field, params=error.params)
        if "provider" in fields:
            fields["provider"] = referenced(
                Provider.objects.filter(name=self.provider).first(),
                "provider",
                Reason.of("no_such_provider", name=repr(self.provider)),
            )
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
    rows = matching(Provider.objects.all(), is_enabled=filters.is_enabled)
    return ordered(rows, filters.ordering)


@router.post("/providers", response={201: ProviderOut}, summary="Add a provider")
@takes_idempotency_key
async def create_provider(request: AuthenticatedRequest, payload: ProviderIn) -> Status[object]:
    await in_database(require_permission, request.auth.user, "chat.add_provider")
    addresses = await providers.addresses_for(payload.dict(exclude_unset=True))
    return await in_database(_create, request, payload, addresses)


@idempotent(ProviderOut)
def _create(
    request: AuthenticatedRequest, payload: ProviderIn, addresses: Addresses
) -> Status[object]:
    fields = payload.dict(exclude_unset=True)
    return Status(201, providers.create(fields, addresses, request.auth.user))


@router.get("/providers/{slug:name}", response=ProviderOut, summary="One provider")
def get_provider(request: AuthenticatedRequest, name: str) -> Provider:
    require_permission(request.auth.user, "chat.view_provider")
    return get_object_or_404(Provider, name=name)


@router.patch("/providers/{slug:name}", response=ProviderOut, summary="Change a provider")
@takes_if_match
async def edit_provider(
    request: AuthenticatedRequest, name: str, payload: ProviderPatch
) -> Provider:
    provider = await in_database(_changeable, request, name)
    fields = payload.dict(exclude_unset=True)
    addresses = await providers.addresses_for(fields, provider)
    return await in_database(_edit, request, name, fields, addresses)


def _changeable(request: AuthenticatedRequest, name: str) -> Provider:
    require_permission(request.auth.user, "chat.change_provider")
    return get_object_or_404(Provider, name=name)


@if_match(ProviderOut, get_provider)
def _edit(
    request: AuthenticatedRequest, name: str, fields: dict[str, object], addresses: Addresses
) -> Provider:
    provider = _changeable(request, name)
    return providers.change(provider.pk, fields, addresses, request.auth.user)


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
