"""Scenes as tools: their names and schemas, and which of them a user may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import Q
from pydantic import JsonValue

from accounts.access.permissions import permission_sets
from accounts.models import User
from chat.mcp_server.errors import INVALID_PARAMS, RPCError
from chat.mcp_server.table_tools import TABLE_TOOLS, has_tables
from chat.models import Scene, SceneVersion, Status
from chat.services import catalog
from chat.services.restrictions import USE_SCENE

GET_TASK, CANCEL_TASK = "get_task", "cancel_task"
#: Tools in one page of the list.
PAGE_TOOLS = 100
#: A name with a point is no slug: a scene that is called like a tool of aily's own gets one.
_PREFIX = "scene."
_SLUG = re.compile(r"[-a-zA-Z0-9_]{1,50}", re.ASCII)

_TASK_ID: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task_id": {
            "type": "string",
            "description": "The id of a task, as an earlier result names it.",
            "minLength": 36,
            "maxLength": 36,
        }
    },
    "required": ["task_id"],
    "additionalProperties": False,
}
_TASK_STATE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task_id": {"type": "string"},
        "status": {"enum": list(Status.values)},
        "position": {"type": ["integer", "null"]},
        "eta_seconds": {"type": ["number", "null"]},
        "text": {"type": ["string", "null"]},
        "error": {"type": ["object", "null"]},
    },
    "required": ["task_id", "status"],
}
#: aily's own tools.
OWN_TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": GET_TASK,
        "title": "Look at a task",
        "description": "Returns the state of a task and its answer, once it has one.",
        "inputSchema": _TASK_ID,
        "outputSchema": _TASK_STATE,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": CANCEL_TASK,
        "title": "Cancel a task",
        "description": "Stops a task for good. One that has ended stays as it is.",
        "inputSchema": _TASK_ID,
        "outputSchema": _TASK_STATE,
        "annotations": {"destructiveHint": True, "idempotentHint": True, "openWorldHint": False},
    },
)
_OWN_NAMES = frozenset(tool["name"] for tool in (*OWN_TOOLS, *TABLE_TOOLS))


class SceneTool(NamedTuple):
    """A scene that the caller may use, as a tool."""

    slug: str
    input_schema: dict[str, Any]
    #: None: its answers are texts.
    output_schema: Mapping[str, JsonValue] | None
    #: Its model may call tools, which may ask their user.
    has_tools: bool


def tool_name(slug: str) -> str:
    """The tool's name of a scene: slugs are valid names."""
    return _PREFIX + slug if slug in _OWN_NAMES else slug


def slug_of(name: str) -> str:
    slug = name.removeprefix(_PREFIX)
    return slug if slug in _OWN_NAMES else name


def load_page(owner_id: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the user's tools, ordered by name, and the cursor of the next one."""
    permissions = permission_sets([owner_id])[owner_id]
    scenes = Scene.objects.usable().select_related("live_version").order_by("slug")
    if not permissions.allows(USE_SCENE):
        granted = permissions.objects(USE_SCENE)
        scenes = scenes.filter(Q(is_restricted=False) | Q(pk__in=granted))
    if cursor:
        scenes = scenes.filter(slug__gt=_slug_of_cursor(cursor))
    page = list(scenes[: PAGE_TOOLS + 1])
    tools = [] if cursor else _own_tools(owner_id)
    tools += [
        _described(scene, scene.live_version)
        for scene in page[:PAGE_TOOLS]
        if scene.live_version is not None
    ]
    return tools, page[PAGE_TOOLS - 1].slug if len(page) > PAGE_TOOLS else None


def _own_tools(owner_id: int) -> list[dict[str, Any]]:
    """Those for tables are of no use to who has none."""
    user = User.objects.get(pk=owner_id)
    return [*OWN_TOOLS, *(TABLE_TOOLS if has_tables(user) else ())]


def _slug_of_cursor(cursor: str) -> str:
    if _SLUG.fullmatch(cursor) is None:
        raise RPCError(INVALID_PARAMS, "There is no such cursor.")
    return cursor


def find_tool(owner_id: int, name: str) -> SceneTool | None:
    """The scene of a tool; None if there is none that the user may use."""
    slug = slug_of(name)
    if _SLUG.fullmatch(slug) is None:
        return None
    scene = catalog.look_up([slug], [owner_id]).scenes.get(slug)
    version = scene.live_version if scene is not None else None
    if scene is None or version is None or not scene.is_enabled:
        return None
    if scene.is_restricted:
        permissions = permission_sets([owner_id])[owner_id]
        if not permissions.allows(USE_SCENE, scene.pk):
            return None
    schema = {"type": "object", **version.variables_schema}
    return SceneTool(slug, schema, version.output_schema or None, bool(version.tools))


def _described(scene: Scene, version: SceneVersion) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "name": tool_name(scene.slug),
        "title": scene.title,
        "description": scene.description or scene.title,
        "inputSchema": {"type": "object", **version.variables_schema},
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": True},
    }
    if version.output_schema:
        tool["outputSchema"] = version.output_schema
    return tool


def has_legacy_output(schema: Mapping[str, JsonValue] | None) -> bool:
    """Whether revisions before 2026-07-28 can name this output: they know objects only."""
    return schema is not None and schema.get("type") == "object"
