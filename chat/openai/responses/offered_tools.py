"""The tools that a response's model is offered, as its request narrows them by server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from chat.models import Tool, ToolServer
from chat.openai.errors import OpenAIError
from chat.openai.responses.hosted_tools import HostedServer, check_urls
from chat.openai.responses.objects import JsonObject
from chat.tools.offers import offered_tools

#: Bytes of the lists of tools that a response repeats. Of larger ones the schemas are left out.
MAX_LISTED_BYTES = 262_144

#: By the names of the servers: tools as the items of lists have them.
Listed = dict[str, list[JsonObject]]


@dataclass(frozen=True, slots=True)
class NarrowedTools:
    """The tools of a scene that a request allows: their names, and what lists have of them by
    server. `asks` are those whose calls wait for the user because the request says so."""

    names: list[str]
    asks: list[str]
    listed: Listed


def narrow(
    owner_id: int, scene_tools: Sequence[str], servers: Sequence[HostedServer]
) -> NarrowedTools:
    """Return the tools of the scene that are of these servers.

    Raises OpenAIError for a server that is not registered, or of which the scene offers nothing.
    """
    known = ToolServer.objects.filter(name__in=[server.label for server in servers])
    check_urls(servers, dict(known.values_list("name", "url")))
    offered = offered_tools(scene_tools, owner_id)
    found: dict[str, list[Tool]] = {}
    for server in servers:
        found[server.label] = _of_server(offered, server)
    names = [tool.function_name for tools in found.values() for tool in tools]
    asks = [
        tool.function_name
        for server in servers
        for tool in found[server.label]
        if server.approval.is_required(tool.function_name, tool.name)
    ]
    return NarrowedTools(names, asks, _listed(found))


def _of_server(offered: Sequence[Tool], server: HostedServer) -> list[Tool]:
    """Return the tools of a server that the request allows. Raises OpenAIError."""
    tools = [tool for tool in offered if tool.server.name == server.label]
    if not tools:
        message = (
            f"The model offers you no tools of {server.label!r}. Scenes offer tools: name the "
            "model scene:<slug>."
        )
        raise _invalid(message, f"{server.param}.server_label")
    names = {tool.function_name for tool in tools} | {tool.name for tool in tools}
    for field, named in server.named_tools():
        if unknown := named - names:
            message = f"The model offers you no tool {min(unknown)[:100]!r} of {server.label!r}."
            raise _invalid(message, f"{server.param}.{field}")
    if server.allowed is None:
        return tools
    return [tool for tool in tools if server.allowed & {tool.function_name, tool.name}]


def _listed(found: Mapping[str, Sequence[Tool]]) -> Listed:
    listed = {server: [_described(tool) for tool in tools] for server, tools in found.items()}
    if len(msgspec.json.encode(listed)) > MAX_LISTED_BYTES:
        for tool in (tool for tools in listed.values() for tool in tools):
            tool |= {"input_schema": {"type": "object"}, "description": tool["description"][:200]}
    return listed


def _described(tool: Tool) -> JsonObject:
    return {
        "name": tool.function_name,
        "description": tool.description or tool.title,
        "input_schema": tool.input_schema or {"type": "object", "properties": {}},
        "annotations": None,
    }


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
