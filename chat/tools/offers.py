"""Which tools a model is offered, for a user: those of the scene, of the request, that the user may
use and that can be called now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from accounts.access.permissions import PermissionSet, permission_sets
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.models import Tool, ToolPolicy
from chat.reasons import Reason

USE_TOOL = "chat.use_tool"
#: Tools of one request; some providers take no more.
MAX_OFFERED = 128


def offered_tools(names: Sequence[str], owner_id: int) -> list[Tool]:
    """The tools of these function names that the user may have called now, each with its server.

    In the order of the names. Permissions are looked up anew each time: what a task was accepted
    with is no promise. One query, besides the cache of permissions.
    """
    if not names:
        return []
    found = {
        tool.function_name: tool for tool in usable_tools(owner_id).filter(function_name__in=names)
    }
    return [found[name] for name in dict.fromkeys(names) if name in found][:MAX_OFFERED]


def usable_tools(user_id: int) -> QuerySet[Tool]:
    """The tools that a user may have called by models, if a scene offers them."""
    return _permitted(_callable(), permission_sets([user_id])[user_id])


def load_tool(function_name: str, owner_id: int) -> Tool | None:
    """A tool that is about to be called for a user; None where that is not allowed any more, or
    where there is none."""
    return usable_tools(owner_id).filter(function_name=function_name).first()


def narrowed(names: Sequence[str], allowed: Collection[str] | None, field: str) -> list[str]:
    """The names of a scene's tools that a request allows; None: all of them.

    Raises InvalidRequest for a name that the scene does not have.
    """
    if allowed is None:
        return list(names)
    for name in allowed:
        if name not in names:
            reason = Reason.of("tool_not_offered", name=repr(name[:100]))
            raise because(InvalidRequest, reason, field=field)
    return [name for name in names if name in allowed]


def definitions(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as providers take them in the `tools` of a request."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.function_name,
                "description": tool.description or tool.title or tool.function_name,
                "parameters": tool.input_schema or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def _callable() -> QuerySet[Tool]:
    """Return the tools for which `Tool.is_offered` is true."""
    rows = Tool.objects.select_related("server").filter(
        is_enabled=True, vanished_at=None, problem="", server__is_enabled=True
    )
    return rows.exclude(policy=ToolPolicy.NEVER)


def _permitted(tools: QuerySet[Tool], permissions: PermissionSet) -> QuerySet[Tool]:
    if permissions.allows(USE_TOOL):
        return tools
    return tools.filter(Q(is_restricted=False) | Q(pk__in=permissions.objects(USE_TOOL)))
