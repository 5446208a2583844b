"""Tools of the type `mcp`: servers that are registered here, whose tools aily calls itself.

They narrow what the scene offers; no other server is ever called. `require_approval` has calls wait
for their user; those of which staff say so wait in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
class Approval:
    """Which calls a request wants to approve, beyond those of which staff say so.

    `always` and `never` are names of tools; `of_others`: calls of all other tools.
    """

    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    of_others: bool = False

    def is_required(self, *names: str) -> bool:
        """Whether calls of the tool with these names wait for their user."""
        if self.always.intersection(names):
            return True
        return self.of_others and not self.never.intersection(names)


@dataclass(frozen=True, slots=True)
class HostedServer:
    """A tool server that a request names. `param` names its place in the request."""

    label: str
    url: str | None
    #: None: all of its tools that the scene offers.
    allowed: frozenset[str] | None
    param: str
    approval: Approval = Approval()

    def named_tools(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The tools that the request names, by field."""
        yield "allowed_tools", self.allowed or frozenset()
        yield "require_approval.always", self.approval.always
        yield "require_approval.never", self.approval.never


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
    given_approval = tool.get("require_approval")
    approval = _approval(given_approval, f"{param}.require_approval")
    echo: JsonObject = {"type": "mcp", "server_label": label}
    if url is not None:
        echo["server_url"] = url
    echo["allowed_tools"] = None if allowed is None else sorted(allowed)
    echo["require_approval"] = given_approval
    return HostedServer(label, url, allowed, param, approval), echo


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


def _approval(given: object, param: str) -> Approval:
    """Without the field staff's policy holds alone, and so it does for `never`."""
    if given is None or given == "never":
        return Approval()
    if given == "always":
        return Approval(of_others=True)
    if not isinstance(given, dict) or not given.keys() <= {"always", "never"}:
        raise _invalid("It is always, never, or an object with lists of tools for them.", param)
    given = {name: value for name, value in given.items() if value is not None}
    always = _allowed(given.get("always"), f"{param}.always")
    never = _allowed(given.get("never"), f"{param}.never")
    if both := (always or frozenset()) & (never or frozenset()):
        raise _invalid(f"{min(both)[:100]!r} is named twice.", param)
    # A list of those that need none says that all others do; and so does `always` without a list.
    of_others = always is None if "always" in given else never is not None
    return Approval(always or frozenset(), never or frozenset(), of_others=of_others)


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
