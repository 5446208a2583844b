"""Tools of the type `mcp`: servers that are registered here, whose tools aily calls itself.

They narrow what the scene offers; no other server is ever called, and staff's policy decides which
calls wait for their user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chat.openai.errors import OpenAIError
from chat.openai.requests import invalid_type, missing, unsupported
from chat.openai.responses.objects import JsonObject

MAX_SERVERS = 32
MAX_ALLOWED_TOOLS = 128
_MAX_LABEL_CHARS = 50
#: Fields by which a caller would have aily call something, or with something, of the caller's own.
_NOT_OFFERED = {
    "connector_id": "Connectors are not offered: name a tool server of this installation.",
    "tunnel_id": "Tunnels are not offered: name a tool server of this installation.",
    "authorization": "Tool servers are called with the credentials that staff have stored.",
    "headers": "Tool servers are called with the credentials that staff have stored.",
}


@dataclass(frozen=True, slots=True)
class HostedServer:
    """A tool server that a request names. `param` names its place in the request."""

    label: str
    url: str | None
    #: None: all of its tools that the scene offers.
    allowed: frozenset[str] | None
    param: str


def read_hosted(tool: JsonObject, param: str) -> tuple[HostedServer, JsonObject]:
    """Read a tool of the type `mcp`. Returns it, and as the response repeats it.

    Raises OpenAIError.
    """
    label, url = tool.get("server_label"), tool.get("server_url")
    if label is None:
        raise missing(f"{param}.server_label")
    if not isinstance(label, str) or not 0 < len(label) <= _MAX_LABEL_CHARS:
        raise _invalid("It is the name of a tool server.", f"{param}.server_label")
    if url is not None and not isinstance(url, str):
        raise invalid_type("a text", f"{param}.server_url")
    for name, message in _NOT_OFFERED.items():
        if tool.get(name):
            raise unsupported(message, f"{param}.{name}")
    allowed = _allowed(tool.get("allowed_tools"), f"{param}.allowed_tools")
    approval = tool.get("require_approval")
    _check_approval(approval, f"{param}.require_approval")
    echo: JsonObject = {"type": "mcp", "server_label": label}
    if url is not None:
        echo["server_url"] = url
    echo["allowed_tools"] = None if allowed is None else sorted(allowed)
    echo["require_approval"] = approval
    return HostedServer(label, url, allowed, param), echo


def _allowed(given: Any, param: str) -> frozenset[str] | None:
    """The names of a list, or of a filter."""
    if given is None:
        return None
    if isinstance(given, dict):
        if given.get("read_only") is not None:
            message = "What a server says of its tools is not trusted: name them in tool_names."
            raise unsupported(message, f"{param}.read_only")
        given = given.get("tool_names")
        if given is None:
            return None
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise invalid_type("a list of names", param)
    if len(given) > MAX_ALLOWED_TOOLS:
        raise _invalid(f"There are more than {MAX_ALLOWED_TOOLS} names.", param)
    return frozenset(given)


def _check_approval(given: object, param: str) -> None:
    if given is not None and given not in ("always", "never") and not isinstance(given, dict):
        raise _invalid("It is always, never, or an object.", param)


def check_urls(servers: Sequence[HostedServer], known: dict[str, str]) -> None:
    """Raise OpenAIError for a server that is not registered, or whose URL is another.

    `known` has the URLs of the registered servers by their names.
    """
    for server in servers:
        if server.label not in known:
            message = (
                f"There is no tool server {server.label!r} here. Only those that are registered in "
                "this installation are called."
            )
            raise _invalid(message, f"{server.param}.server_label")
        if server.url is not None and server.url.rstrip("/") != known[server.label].rstrip("/"):
            message = (
                f"The tool server {server.label!r} of this installation has another URL. Only "
                "registered servers are called: leave server_url out."
            )
            raise _invalid(message, f"{server.param}.server_url")


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
