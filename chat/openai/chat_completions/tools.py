"""Tools as clients of OpenAI's API describe them, in the form that every provider accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

from pydantic import JsonValue

from chat.openai.errors import OpenAIError
from chat.openai.requests import invalid_type
from chat.services.parameters import Object

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FUNCTION_FIELDS = {
    "parameters": (dict, "an object"),
    "description": (str, "a text"),
    "strict": (bool, "true or false"),
}
_CHOICES, _MODES = ("none", "auto", "required"), ("auto", "required")


def read_tools(body: Object) -> Object:
    """Return the fields `tools` and `tool_choice` of a body, those that it has. Raises OpenAIError.

    The old `functions` and `function_call` become tools; `allowed_tools`, which few providers know,
    becomes the tools that it allows.
    """
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools and body.get("functions"):
        tools = _from_functions(body["functions"])
        choice = _from_function_call(body.get("function_call"))
    if tools in (None, []) and choice is None:
        return {}
    names = _checked_names(tools)
    if isinstance(choice, dict):
        tools, choice = _with_choice(tools, choice, names)
    elif choice is not None and choice not in _CHOICES:
        raise _refused(f"This is an object, or one of {', '.join(_CHOICES)}.", "tool_choice")
    fields = {"tools": tools or None, "tool_choice": choice}
    return {name: value for name, value in fields.items() if value is not None}


def _from_functions(functions: JsonValue) -> JsonValue:
    if not isinstance(functions, list):
        raise _refused("This must be a list of functions.", "functions")
    return [{"type": "function", "function": function} for function in functions]


def _from_function_call(choice: JsonValue) -> JsonValue:
    return {"type": "function", "function": choice} if isinstance(choice, dict) else choice


def _checked_names(tools: JsonValue) -> Sequence[str]:
    """The functions' names. Raises OpenAIError for what is no function."""
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _refused("This must be a list of tools.", "tools")
    return [_checked_name(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _checked_name(tool: JsonValue, param: str) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or kind != "function":
        raise _refused("Only tools of the type function are supported.", f"{param}.type")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise _refused("A tool needs an object `function`.", f"{param}.function")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = "A function's name has 1 to 64 letters, digits, _ and -."
        raise _refused(message, f"{param}.function.name")
    for field, (kind_of_value, wanted) in _FUNCTION_FIELDS.items():
        if not isinstance(function.get(field), kind_of_value | None):
            raise invalid_type(wanted, f"{param}.function.{field}")
    return name


def _with_choice(
    tools: JsonValue, choice: Object, names: Sequence[str]
) -> tuple[JsonValue, JsonValue]:
    """The tools and the choice, where that is an object. Raises OpenAIError."""
    if choice.get("type") == "allowed_tools":
        return _only_allowed(tools, choice.get("allowed_tools"), names)
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, dict):
        message = "An object names a function, or allowed_tools."
        raise _refused(message, "tool_choice")
    # Without tools here, those of the scene or the model are meant.
    if tools and function.get("name") not in names:
        raise _refused("There is no such function among the tools.", "tool_choice")
    return tools, choice


def _only_allowed(
    tools: JsonValue, allowed: JsonValue, names: Sequence[str]
) -> tuple[JsonValue, JsonValue]:
    mode = allowed.get("mode") if isinstance(allowed, dict) else None
    listed = allowed.get("tools") if isinstance(allowed, dict) else None
    if mode not in _MODES or not isinstance(listed, list):
        message = "allowed_tools has a mode, auto or required, and a list of tools."
        raise _refused(message, "tool_choice.allowed_tools")
    wanted = {_named(tool) for tool in listed}
    if not wanted or not wanted <= set(names):
        message = "allowed_tools names functions that are among the tools."
        raise _refused(message, "tool_choice.allowed_tools.tools")
    given = cast("list[JsonValue]", tools)  # it has names
    return [tool for tool, name in zip(given, names, strict=True) if name in wanted], mode


def _named(tool: JsonValue) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else ""


def _refused(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param)
