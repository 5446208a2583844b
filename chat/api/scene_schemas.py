"""REST: what scenes and their versions look like in requests and responses."""

# Annotations stay objects here: ninja reads them.

from datetime import datetime
from decimal import Decimal
from typing import Literal

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.api.references import referenced
from chat.models import LLMModel, Scene, SceneVersion
from chat.models.scenes import (
    MAX_CACHE_TTL_SECONDS,
    MAX_TOOL_COST,
    MAX_TOOL_RESULT_BYTES,
    MAX_TOOL_SECONDS,
    MAX_TOOL_STEPS,
    MIN_TOOL_COST,
    MIN_TOOL_RESULT_BYTES,
    MIN_TOOL_SECONDS,
)
from chat.reasons import Reason
from chat.tools.offers import MAX_OFFERED


class SceneOut(Schema):
    model_config = example(
        slug="reply",
        title="Answer a customer",
        description="A friendly answer to a letter.",
        is_enabled=True,
        is_restricted=False,
        live_version=2,
        variables_schema={
            "type": "object",
            "properties": {"letter": {"type": "string"}},
            "required": ["letter"],
        },
        output_schema=None,
        created_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:05:00Z",
    )

    slug: str
    title: str
    description: str
    is_enabled: bool
    is_restricted: bool = Field(description="Only for those with permission to use it.")
    live_version: int | None = Field(None, description="Null: nothing is published yet.")
    variables_schema: dict[str, object] | None = Field(
        None, description="JSON Schema of `variables` for the live version."
    )
    output_schema: dict[str, object] | None = Field(
        None, description="JSON Schema that the live version's answers fit; null: they are texts."
    )
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def resolve_live_version(scene: Scene) -> int | None:
        return scene.live_version.number if scene.live_version else None

    @staticmethod
    def resolve_variables_schema(scene: Scene) -> dict[str, object] | None:
        return scene.live_version.variables_schema if scene.live_version else None

    @staticmethod
    def resolve_output_schema(scene: Scene) -> dict[str, object] | None:
        return scene.live_version.output_schema if scene.live_version else None


class SceneFilter(Schema):
    search: str = Field("", max_length=200, description="Part of the slug or title.")
    is_enabled: bool | None = None
    ordering: Literal[
        "slug", "-slug", "title", "-title", "created_at", "-created_at", "updated_at", "-updated_at"
    ] = "slug"


class SceneIn(RequestSchema):
    model_config = example(
        slug="reply", title="Answer a customer", description="A friendly answer to a letter."
    )

    slug: str
    title: str
    description: str = Field("", max_length=10_000)
    is_enabled: bool = True
    is_restricted: bool = False


class ScenePatch(RequestSchema):
    model_config = example(title="Answer a customer", is_enabled=True)

    title: str | None = None
    description: str | None = Field(None, max_length=10_000)
    is_enabled: bool | None = None
    is_restricted: bool | None = None


class VersionFilter(Schema):
    is_published: bool | None = Field(None, description="False: drafts.")
    ordering: Literal["number", "-number"] = "-number"


class VersionOut(Schema):
    model_config = example(
        number=2,
        is_live=True,
        system_template="You answer letters of customers, politely and briefly.",
        user_template="{{ letter }}",
        variables_schema={
            "type": "object",
            "properties": {"letter": {"type": "string"}},
            "required": ["letter"],
        },
        output_schema=None,
        model="deepseek-flash",
        fallback_models=["deepseek-v4-pro"],
        params={"temperature": 0.2},
        tools=["clock"],
        max_tool_steps=4,
        max_tool_seconds=None,
        max_tool_result_bytes=None,
        max_tool_cost="0.5",
        single_flight=False,
        cache_ttl_seconds=0,
        notes="Shorter answers.",
        created_by="admin",
        created_at="2026-01-31T12:00:00Z",
        published_at="2026-01-31T12:05:00Z",
    )

    number: int
    is_live: bool
    system_template: str
    user_template: str
    variables_schema: dict[str, object]
    output_schema: dict[str, object] | None
    model: str | None = Field(None, alias="model.name")
    fallback_models: list[str]
    params: dict[str, object]
    tools: list[str]
    max_tool_steps: int | None
    max_tool_seconds: float | None
    max_tool_result_bytes: int | None
    max_tool_cost: Decimal | None
    single_flight: bool
    cache_ttl_seconds: int
    notes: str
    created_by: str | None = Field(None, alias="created_by.username")
    created_at: datetime
    published_at: datetime | None

    @staticmethod
    def resolve_is_live(version: SceneVersion) -> bool:
        return version.scene.live_version_id == version.pk


class VersionPatch(RequestSchema):
    model_config = example(params={"temperature": 0}, notes="Always the same answer.")

    system_template: str = ""
    user_template: str = ""
    variables_schema: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="JSON Schema (2020-12), without remote references. Empty: every name that the "
        "templates use is a required string.",
    )
    output_schema: dict[str, JsonValue] | None = Field(
        None,
        description="JSON Schema (2020-12), without remote references, that every answer is made "
        "to fit. Null or empty: answers are texts.",
    )
    model: str | None = Field(None, description="A model's name. Null: the default model.")
    fallback_models: list[str] = Field(
        default_factory=list,
        max_length=5,
        description="Models that take over, in order, when the provider fails.",
    )
    params: dict[str, JsonValue] = Field(default_factory=dict)
    tools: list[str] = Field(
        default_factory=list,
        max_length=MAX_OFFERED,
        description="Names of the tools that the model may call.",
    )
    max_tool_steps: int | None = Field(
        None,
        ge=1,
        le=MAX_TOOL_STEPS,
        description="How often the model of one task may ask for tool calls. Null: as often as the "
        "installation allows, which bounds all of these limits.",
    )
    max_tool_seconds: float | None = Field(
        None,
        ge=MIN_TOOL_SECONDS,
        le=MAX_TOOL_SECONDS,
        description="Of a task's model and tools together, without the waiting for people.",
    )
    max_tool_result_bytes: int | None = Field(
        None,
        ge=MIN_TOOL_RESULT_BYTES,
        le=MAX_TOOL_RESULT_BYTES,
        description="How much of a tool's result the model is sent.",
    )
    max_tool_cost: Decimal | None = Field(
        None,
        ge=MIN_TOOL_COST,
        le=MAX_TOOL_COST,
        max_digits=18,
        decimal_places=6,
        description="What a task's model and tools may cost, in any currency.",
    )
    single_flight: bool = Field(
        False, description="Equal requests at the same moment share one call, of all users."
    )
    cache_ttl_seconds: int = Field(
        0,
        ge=0,
        le=MAX_CACHE_TTL_SECONDS,
        description="For how long an answer is given to equal requests of all users; 0: never.",
    )
    notes: str = Field("", max_length=10_000)

    def given(self) -> dict[str, object]:
        """The fields of the request, its model looked up. Raises InvalidRequest."""
        fields = self.dict(exclude_unset=True)
        if fields.get("model") is not None:
            fields["model"] = referenced(
                LLMModel.objects.filter(name=self.model).first(),
                "model",
                Reason.of("no_model", name=repr(self.model)),
            )
        return fields


class VersionIn(VersionPatch):
    model_config = example(
        system_template="You answer letters of customers, politely and briefly.",
        user_template="{{ letter }}",
        model="deepseek-flash",
        fallback_models=["deepseek-v4-pro"],
        params={"temperature": 0.2},
        notes="Shorter answers.",
    )

    user_template: str


class LiveIn(RequestSchema):
    model_config = example(version=1)

    version: int


class PreviewIn(RequestSchema):
    model_config = example(
        system_template="You answer letters of customers, politely and briefly.",
        user_template="{{ letter }}",
        variables={"letter": "Where is my parcel?"},
    )

    system_template: str = ""
    user_template: str
    variables_schema: dict[str, JsonValue] = Field(
        default_factory=dict, description="As in a version; empty: the one that is implied."
    )
    output_schema: dict[str, JsonValue] | None = Field(
        None, description="As in a version; it is checked."
    )
    variables: dict[str, JsonValue] = Field(default_factory=dict)


class PreviewRefusal(Schema):
    code: str
    message: str
    field: str | None = None
    params: dict[str, str | float] = Field(
        default_factory=dict, description="What a text in another language needs, such as a `rule`."
    )


class PreviewOut(Schema):
    model_config = example(
        variables_schema={
            "type": "object",
            "properties": {"letter": {"type": "string"}},
            "required": ["letter"],
            "additionalProperties": False,
        },
        messages=[{"role": "user", "content": "Where is my parcel?"}],
        refusal=None,
    )

    variables_schema: dict[str, object] = Field(description="The schema in force.")
    messages: list[dict[str, object]] | None
    refusal: PreviewRefusal | None = Field(
        description="Why there are no messages: the variables do not fit, or are too large."
    )
