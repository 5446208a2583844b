"""Calls of tools over plain HTTP: arguments become a request, its answer becomes text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from aily.observability import tracing
from chat.llm.pages import in_utf8, plain_text
from chat.models import Tool
from chat.models.tool_fields import placeholders
from chat.tools.endpoints import Endpoint, credentials, forget_token, secrets_of
from chat.tools.exchange import ByteBudget, OutgoingRequest, send, target_of
from chat.tools.results import ToolErrorCode, ToolFault

#: Results are cut above their bound (results.bounded); more than that is not read.
_MAX_BODY_FACTOR, _EXTRA_BYTES = 4, 65_536
#: Characters of an answer that says why there is none.
_MAX_ERROR_CHARS = 300
_BODIED = frozenset({"POST", "PUT", "PATCH"})
_TEXT_TYPES = re.compile(r"text/|application/(?:.*\+)?(?:json|xml|yaml|javascript)|^$")


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    text: str
    structured: dict[str, Any] | None


async def call(
    endpoint: Endpoint,
    tool: Tool,
    arguments: Mapping[str, Any],
    call_id: str,
    leave: Callable[[], Awaitable[None]],
) -> HTTPAnswer:
    """Make one call. Raises ToolFault. `leave`, which raises it where the call may not be made any
    more, is asked when the credentials are there."""

    async def send_it() -> tuple[int, Mapping[str, str], bytes]:
        sent = await credentials(endpoint)
        await leave()
        return await _send(endpoint, _request(endpoint, tool, arguments, call_id, sent))

    try:
        async with asyncio.timeout(endpoint.timeout_seconds):
            return await _call(endpoint, send_it)
    except TimeoutError:
        raise ToolFault(
            ToolErrorCode.TIMEOUT,
            f"The tool did not answer within {endpoint.timeout_seconds:g} s.",
        ) from None
    except ToolFault as fault:
        raise fault.without(secrets_of(endpoint)) from None


async def _call(
    endpoint: Endpoint, send_it: Callable[[], Awaitable[tuple[int, Mapping[str, str], bytes]]]
) -> HTTPAnswer:
    status, headers, content = await send_it()
    if status == 401 and forget_token(endpoint):
        # Refused, and so not carried out: the token was out of date.
        status, headers, content = await send_it()
    if status in (401, 403):
        raise ToolFault(
            ToolErrorCode.AUTH, f"The tool's server refuses aily's credentials (HTTP {status})."
        )
    kind = headers.get("content-type", "").lower()
    if not 200 <= status < 300:
        reason = plain_text(in_utf8(content, kind).decode(errors="replace"))[:_MAX_ERROR_CHARS]
        message = f"The tool's server answers with HTTP {status}"
        raise ToolFault(ToolErrorCode.HTTP_ERROR, f"{message}: {reason}" if reason else message)
    return _answer(content, kind)


async def _send(
    endpoint: Endpoint, request: OutgoingRequest
) -> tuple[int, Mapping[str, str], bytes]:
    budget = ByteBudget(_MAX_BODY_FACTOR * endpoint.max_result_bytes + _EXTRA_BYTES)
    response = await send(request, budget)
    try:
        return response.status, response.headers, await response.content()
    finally:
        response.close()


def _answer(content: bytes, kind: str) -> HTTPAnswer:
    media_type = kind.partition(";")[0].strip()
    if not _TEXT_TYPES.search(media_type):
        return HTTPAnswer(f"[{media_type[:100]}, {len(content)} bytes, not shown]", None)
    text = in_utf8(content, kind).decode(errors="replace")
    if "json" not in media_type:
        return HTTPAnswer(text, None)
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ToolFault(
            ToolErrorCode.INVALID_RESPONSE, "The tool's server answers with JSON that is none."
        ) from None
    return HTTPAnswer(text, value if isinstance(value, dict) else None)


# --- The request --------------------------------------------------------------------------------
@dataclass(slots=True)
class _Parts:
    """Where the arguments of a call go."""

    path: dict[str, str]
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    fields: dict[str, Any]
    #: A body that one argument is as a whole.
    body: Any = msgspec.UNSET


def _request(
    endpoint: Endpoint,
    tool: Tool,
    arguments: Mapping[str, Any],
    call_id: str,
    credentials_: tuple[tuple[str, str], ...],
) -> OutgoingRequest:
    """Build the request of a call. Raises ToolFault where an argument cannot be sent."""
    parts = _sorted_out(tool, arguments)
    base, mark, base_query = endpoint.url.partition("?")
    path = base.rstrip("/") + _filled(tool.path, parts.path)
    queries = [part for part in (base_query if mark else "", urlencode(parts.query)) if part]
    url = "?".join([path, "&".join(queries)] if queries else [path])
    body = b""
    headers = [
        ("accept", "application/json, text/*;q=0.9"),
        # By this key the service recognises a call that is made again.
        ("idempotency-key", call_id),
        *parts.headers,
    ]
    if tool.method in _BODIED:
        whole = parts.fields if parts.body is msgspec.UNSET else parts.body
        body = msgspec.json.encode(whole)
        headers.append(("content-type", "application/json"))
    if parent := tracing.traceparent():
        headers.append(("traceparent", parent))
    own = {name.lower() for name, _ in credentials_}
    kept = [(name, value) for name, value in headers if name.lower() not in own]
    return OutgoingRequest(
        tool.method,
        target_of(url, endpoint.may_reach),
        (*kept, *credentials_),
        body,
        is_repeatable=tool.is_idempotent or tool.method == "GET",
    )


def _sorted_out(tool: Tool, arguments: Mapping[str, Any]) -> _Parts:
    parts = _Parts({}, [], [], {})
    in_path = set(placeholders(tool.path))
    for argument, value in arguments.items():
        place = tool.parameters.get(argument) or {}
        name = place.get("name", argument)
        match place.get("in") or ("path" if argument in in_path else ""):
            case "path":
                parts.path[name] = _text(value)
            case "query":
                parts.query += _pairs(name, value)
            case "header":
                parts.headers.append((name, _header_value(argument, value)))
            case "body" if not name:
                parts.body = value
            case "" if tool.method not in _BODIED:
                parts.query += _pairs(name, value)
            case _:
                parts.fields[name] = value
    return parts


def _filled(path: str, values: Mapping[str, str]) -> str:
    """The path with its placeholders filled in, each within its part of the path."""
    for name in placeholders(path):
        value = values.get(name, "")
        if value in ("", ".", ".."):
            raise ToolFault(
                ToolErrorCode.INVALID_ARGUMENTS, f"{name}: a part of the path cannot be {value!r}."
            )
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [(name, _text(item)) for item in values]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _header_value(argument: str, value: Any) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()):
        raise ToolFault(
            ToolErrorCode.INVALID_ARGUMENTS,
            f"{argument}: it is sent as a header, which takes printable ASCII alone.",
        )
    return text
