"""REST: scenes, and their versions, which staff write."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Status
from ninja.pagination import paginate

from accounts.access.permissions import permissions_of, require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.problems import Forbidden, NotFound
from aily.rest.etags import if_match
from aily.rest.pages import Page, matching, ordered
from aily.rest.writes import add, change
from chat.api.references import referenced
from chat.api.scene_schemas import (
    LiveIn,
    PreviewIn,
    PreviewOut,
    SceneFilter,
    SceneIn,
    SceneOut,
    ScenePatch,
    VersionFilter,
    VersionIn,
    VersionOut,
    VersionPatch,
)
from chat.exceptions import because
from chat.models import Scene, SceneVersion
from chat.reasons import Reason
from chat.rendering.prompt import PromptSource
from chat.services import drafts
from chat.services import scenes as service
from chat.services.catalog import SLUGS
from chat.services.restrictions import EDIT_SCENE, PUBLISH_SCENE

router = Router(tags=["scenes"])

EDIT = EDIT_SCENE
PUBLISH = PUBLISH_SCENE


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
        raise because(Forbidden, Reason.of("permission", permission=permissions[0]))
    if scene is None:
        raise because(NotFound, Reason.of("no_such_scene", name=repr(slug)))
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
    missing = Reason.of("no_such_version", name=repr(slug), number=payload.version)
    service.make_live(referenced(version, "version", missing))
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
