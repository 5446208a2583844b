"""REST: scenes, and their versions, which staff write."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from decimal import Decimal
from typing import Literal

from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.access.permissions import permissions_of, require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.problems import Forbidden, NotFound
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema
from aily.rest.writes import add, change
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
from chat.rendering.prompt import PromptSource
from chat.services import drafts
from chat.services import scenes as service
from chat.services.catalog import SLUGS
from chat.services.restrictions import EDIT_SCENE, PUBLISH_SCENE
from chat.tools.offers import MAX_OFFERED

router = Router(tags=["scenes"])

EDIT = EDIT_SCENE
PUBLISH = PUBLISH_SCENE


# --- Schemas ------------------------------------------------------------------------------------
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
                f"There is no model {self.model!r}.",
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


# --- Permissions --------------------------------------------------------------------------------
def _visible(user: User) -> QuerySet[Scene]:
    """The scenes that a user may use or edit; all of them with permission to view scenes."""
    permissions = permissions_of(user)
    scenes: QuerySet[Scene] = Scene.objects.all()
    if not permissions.allows("chat.view_scene"):
        scenes = Scene.objects.usable()
        if not permissions.allows("chat.use_scene"):
            own = permissions.objects("chat.use_scene")
            scenes = scenes.filter(Q(is_restricted=False) | Q(pk__in=own))
        edited = permissions.objects("chat.change_scene") | permissions.objects(PUBLISH)
        scenes |= Scene.objects.filter(pk__in=edited)
    return scenes.select_related("live_version").defer(
        "live_version__system_template", "live_version__user_template"
    )


def _scene(request: AuthenticatedRequest, slug: str, *permissions: str) -> Scene:
    """The scene, on which one of the permissions is needed. Raises Forbidden."""
    held = permissions_of(request.auth.user)
    scene = Scene.objects.filter(slug=slug).first() if SLUGS.may_exist(slug) else None
    # Forbidden comes first: without a permission one does not learn whether there is such a scene.
    if not any(held.allows(permission, scene) for permission in permissions):
        raise Forbidden(f"This needs the permission {permissions[0]}.")
    if scene is None:
        raise NotFound(f"There is no scene {slug!r}.")
    return scene


def _versions() -> QuerySet[SceneVersion]:
    return SceneVersion.objects.select_related("scene", "model", "created_by")


def _version(
    request: AuthenticatedRequest, slug: str, number: int, *permissions: str
) -> SceneVersion:
    scene = _scene(request, slug, *permissions)
    return get_object_or_404(_versions(), scene=scene, number=number)


# --- Scenes -------------------------------------------------------------------------------------
@router.get("", response=list[SceneOut], summary="Scenes")
@paginate(Page)
def list_scenes(request: AuthenticatedRequest, filters: Query[SceneFilter]) -> QuerySet[Scene]:
    scenes = _visible(request.auth.user)
    if filters.search:
        found = Q(slug__icontains=filters.search) | Q(title__icontains=filters.search)
        scenes = scenes.filter(found)
    return ordered(matching(scenes, is_enabled=filters.is_enabled), filters.ordering)


@router.post("", response={201: SceneOut}, summary="Make a scene")
@idempotent(SceneOut)
def create_scene(request: AuthenticatedRequest, payload: SceneIn) -> Status[Scene]:
    require_permission(request.auth.user, "chat.add_scene")
    return Status(201, add(Scene(**payload.dict())))


@router.get("/{slug:slug}", response=SceneOut, summary="One scene")
def get_scene(request: AuthenticatedRequest, slug: str) -> Scene:
    if not SLUGS.may_exist(slug):
        raise Http404
    return get_object_or_404(_visible(request.auth.user), slug=slug)


@router.patch("/{slug:slug}", response=SceneOut, summary="Change a scene")
@if_match(SceneOut, get_scene)
def edit_scene(request: AuthenticatedRequest, slug: str, payload: ScenePatch) -> Scene:
    scene = _scene(request, slug, EDIT)
    fields = payload.dict(exclude_unset=True)
    if "is_restricted" in fields:
        # The permission to edit one scene is not enough to decide who may use it.
        require_permission(request.auth.user, EDIT)
    change(scene, fields, "updated_at")
    return scene


@router.delete("/{slug:slug}", response={204: None}, summary="Delete a scene and its versions")
@if_match(SceneOut, get_scene)
def delete_scene(request: AuthenticatedRequest, slug: str) -> Status[None]:
    _scene(request, slug, "chat.delete_scene").delete()
    return Status(204, None)


@router.post(
    "/{slug:slug}/live",
    operation_id="set_live_version",
    response=SceneOut,
    summary="Make a published version live",
)
@if_match(SceneOut, get_scene)
def move_live(request: AuthenticatedRequest, slug: str, payload: LiveIn) -> Scene:
    scene = _scene(request, slug, PUBLISH)
    version = scene.versions.filter(number=payload.version).first()
    message = f"Scene {slug!r} has no version {payload.version}."
    service.make_live(referenced(version, "version", message))
    scene.refresh_from_db()
    return scene


@router.post(
    "/{slug:slug}/preview",
    operation_id="preview_scene",
    response=PreviewOut,
    summary="Render templates that are perhaps not saved",
)
def preview(request: AuthenticatedRequest, slug: str, payload: PreviewIn) -> drafts.Preview:
    _scene(request, slug, "chat.change_sceneversion", EDIT)
    source = PromptSource(payload.system_template, payload.user_template, payload.variables_schema)
    user_id = request.auth.user.pk
    return drafts.preview(source, payload.variables, user_id, payload.output_schema)


# --- Versions -----------------------------------------------------------------------------------
@router.get(
    "/{slug:slug}/versions",
    operation_id="list_scene_versions",
    response=list[VersionOut],
    summary="A scene's versions",
)
@paginate(Page)
def list_versions(
    request: AuthenticatedRequest, slug: str, filters: Query[VersionFilter]
) -> QuerySet[SceneVersion]:
    scene = _scene(request, slug, "chat.view_sceneversion", EDIT)
    is_draft = None if filters.is_published is None else not filters.is_published
    versions = matching(_versions().filter(scene=scene), published_at__isnull=is_draft)
    return ordered(versions, filters.ordering)


@router.post(
    "/{slug:slug}/versions",
    operation_id="create_scene_version",
    response={201: VersionOut},
    summary="Write a draft",
)
@idempotent(VersionOut)
def create_version(
    request: AuthenticatedRequest, slug: str, payload: VersionIn
) -> Status[SceneVersion]:
    scene = _scene(request, slug, "chat.add_sceneversion", EDIT)
    return Status(201, service.create_version(scene, request.auth.user, payload.given()))


@router.get(
    "/{slug:slug}/versions/{int:number}",
    operation_id="get_scene_version",
    response=VersionOut,
    summary="One version",
)
def get_version(request: AuthenticatedRequest, slug: str, number: int) -> SceneVersion:
    return _version(request, slug, number, "chat.view_sceneversion", EDIT)


@router.patch(
    "/{slug:slug}/versions/{int:number}",
    operation_id="edit_scene_version",
    response=VersionOut,
    summary="Edit a draft",
)
@if_match(VersionOut, get_version)
def edit_version(
    request: AuthenticatedRequest, slug: str, number: int, payload: VersionPatch
) -> SceneVersion:
    version = _version(request, slug, number, "chat.change_sceneversion", EDIT)
    return service.edit_version(version, payload.given(), request.auth.user)


@router.delete(
    "/{slug:slug}/versions/{int:number}",
    operation_id="delete_scene_version",
    response={204: None},
    summary="Drop a draft",
)
@if_match(VersionOut, get_version)
def delete_version(request: AuthenticatedRequest, slug: str, number: int) -> Status[None]:
    service.delete_version(_version(request, slug, number, "chat.delete_sceneversion", EDIT))
    return Status(204, None)


@router.post(
    "/{slug:slug}/versions/{int:number}/publish",
    operation_id="publish_scene_version",
    response=VersionOut,
    summary="Freeze a draft and make it live",
)
@if_match(VersionOut, get_version)
def publish_version(request: AuthenticatedRequest, slug: str, number: int) -> SceneVersion:
    version = _version(request, slug, number, PUBLISH)
    service.publish(version, request.auth.user)
    return _versions().get(pk=version.pk)
