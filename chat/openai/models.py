"""`GET /v1/models`: the models that a caller may name, and the scenes as models."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from accounts.access.permissions import PermissionSet, permission_sets
from aily.database.threads import in_database
from chat.models import Deployment, LLMModel, Scene
from chat.openai.callers import caller_of
from chat.openai.errors import JSON_TYPE, unknown_model
from chat.openai.scenes import SCENE_PREFIX
from chat.services.restrictions import USE_MODEL, USE_SCENE

#: Callers learn no names of providers, here as elsewhere.
_OWNER = "aily"
_MAX_ROWS = 10_000


async def list_models(request: Request) -> Response:
    """The models and scenes that the caller may use, in one page."""
    caller = await caller_of(request)
    data = await in_database(_usable, caller.owner_id)
    return _json({"object": "list", "data": data})


async def retrieve_model(request: Request) -> Response:
    """One of them; of a scene with the schema of its variables."""
    name: str = request.path_params["model"]
    caller = await caller_of(request)
    found = await in_database(_find, caller.owner_id, name)
    if found is None:
        raise unknown_model(name)
    return _json(found)


def _json(body: dict[str, object]) -> Response:
    return Response(json.dumps(body), media_type=JSON_TYPE)


def _usable(owner_id: int) -> list[dict[str, object]]:
    permissions = permission_sets([owner_id])[owner_id]
    models = LLMModel.objects.with_deployments().filter(is_enabled=True)
    scenes = Scene.objects.usable().only("slug", "title", "created_at", "is_restricted")
    return [
        *(_model(row) for row in models[:_MAX_ROWS] if _may_use(permissions, row)),
        *(_scene(row) for row in scenes[:_MAX_ROWS] if _may_use(permissions, row)),
    ]


def _find(owner_id: int, name: str) -> dict[str, object] | None:
    permissions = permission_sets([owner_id])[owner_id]
    if name.startswith(SCENE_PREFIX):
        slug = name.removeprefix(SCENE_PREFIX)
        scene = Scene.objects.usable().select_related("live_version").filter(slug=slug).first()
        version = scene.live_version if scene is not None else None
        if scene is None or version is None or not _may_use(permissions, scene):
            return None
        described = {"description": scene.description, "variables": version.variables_schema}
        return {**_scene(scene), **described}
    model = LLMModel.objects.select_related("provider").filter(is_enabled=True, name=name).first()
    # Read for a model that is not there as well: another query would tell that it is.
    further = list(Deployment.objects.select_related("provider").filter(model__name=name))
    if model is None:
        return None
    model.further_deployments = further
    return _model(model) if _may_use(permissions, model) else None


def _may_use(permissions: PermissionSet, row: LLMModel | Scene) -> bool:
    if isinstance(row, LLMModel) and not row.is_offered:
        return False
    permission = USE_SCENE if isinstance(row, Scene) else USE_MODEL
    return not row.is_restricted or permissions.allows(permission, row.pk)


def _model(model: LLMModel) -> dict[str, object]:
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": _OWNER,
    }


def _scene(scene: Scene) -> dict[str, object]:
    return {
        "id": f"{SCENE_PREFIX}{scene.slug}",
        "object": "model",
        "created": int(scene.created_at.timestamp()),
        "owned_by": _OWNER,
        "title": scene.title,
    }
