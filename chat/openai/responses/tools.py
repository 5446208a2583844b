"""Tools of the Responses API, which are flat, in the nested form of chat completions and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from chat.openai.errors import OpenAIError
from chat.openai.requests import invalid_type, unsupported
from chat.openai.responses.hosted_tools import HostedServer, read_hosted
from chat.openai.responses.objects import JsonObject
from chat.services.parameters import Object

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODES = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class Tools:
    """Tools as the response repeats them, and as parameters of the task."""

    tools: list[JsonObject] = field(default_factory=list)
    choice: Any = "auto"
    parameters: Object = field(default_factory=dict)
    #: Those whose tools aily calls.
    hosted: list[HostedServer] = field(default_factory=list)


def read_tools(given: Object) -> Tools:
    """Read the functions and the choice of a request. Raises OpenAIError for tools that are no
    functions, and for a choice that is not offered."""
    listed = given.get("tools", [])
    if not isinstance(listed, list):
        raise invalid_type("a list of tools", "tools")
    if len(listed) > MAX_TOOLS:
        raise _invalid(f"There are more than {MAX_TOOLS} tools.", "tools")
    tools: list[JsonObject] = []
    hosted: list[HostedServer] = []
    for index, given_tool in enumerate(listed):
        tool, server = _tool(given_tool, f"tools[{index}]")
        tools.append(tool)
        if server is not None:
            hosted.append(server)
    functions = [tool for tool in tools if tool["type"] == "function"]
    choice = given.get("tool_choice", "auto")
    offered, mode = _chosen(functions, choice)
    parameters: Object = {}
    if offered:
        parameters["tools"] = [_nested(tool) for tool in offered]
    if "tool_choice" in given:
        # It is about the tools of a scene as well.
        parameters["tool_choice"] = mode
    return Tools(tools, choice, parameters, hosted)


def _tool(tool: object, param: str) -> tuple[JsonObject, HostedServer | None]:
    """A tool as the response repeats it, and the server that it names."""
    if not isinstance(tool, dict):
        raise invalid_type("an object", param)
    if tool.get("type") == "mcp":
        server, echo = read_hosted(tool, param)
        return echo, server
    return _function(tool, param), None


def _function(tool: JsonObject, param: str) -> JsonObject:
    if tool.get("type") != "function":
        kind = str(tool.get("type"))[:64]
        message = f"Tools of the type {kind} are not offered; functions and mcp are."
        raise unsupported(message, "tools")
    name, parameters = tool.get("name"), tool.get("parameters")
    description, strict = tool.get("description"), tool.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = "A function's name has 1 to 64 letters, digits, _ and -."
        raise _invalid(message, f"{param}.name")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid_type("an object", f"{param}.parameters")
    if description is not None and not isinstance(description, str):
        raise invalid_type("a text", f"{param}.description")
    if strict is not None and not isinstance(strict, bool):
        raise invalid_type("true or false", f"{param}.strict")
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": strict,
    }


def _nested(tool: JsonObject) -> Any:
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def _chosen(tools: list[JsonObject], choice: Any) -> tuple[Sequence[JsonObject], Any]:
    """The tools that the model is offered, and the choice in the form of chat completions."""
    if isinstance(choice, str):
        if choice not in _MODES:
            raise _invalid(f"It is an object, or one of {', '.join(_MODES)}.", "tool_choice")
        return tools, choice
    if not isinstance(choice, dict):
        raise invalid_type("a text or an object", "tool_choice")
    names = {tool["name"] for tool in tools}
    if choice.get("type") == "function":
        if choice.get("name") not in names:
            raise _invalid("There is no such function among the tools.", "tool_choice.name")
        return tools, {"type": "function", "function": {"name": choice["name"]}}
    if choice.get("type") == "allowed_tools":
        return _allowed(tools, choice, names)
    raise unsupported("Only functions can be chosen.", "tool_choice.type")


def _allowed(
    tools: list[JsonObject], choice: JsonObject, names: set[str]
) -> tuple[Sequence[JsonObject], Any]:
    """Few providers know allowed_tools: they are offered no others."""
    mode, listed = choice.get("mode"), choice.get("tools")
    if mode not in ("auto", "required") or not isinstance(listed, list):
        message = "allowed_tools has a mode, auto or required, and a list of tools."
        raise _invalid(message, "tool_choice")
    allowed = {tool.get("name") for tool in listed if isinstance(tool, dict)}
    if not allowed or not allowed <= names:
        raise _invalid("It names functions that are among the tools.", "tool_choice.tools")
    return [tool for tool in tools if tool["name"] in allowed], mode


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
