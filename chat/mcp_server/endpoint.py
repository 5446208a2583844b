"""`POST /mcp`: checks caller and origin; then the `mcp` package answers.

What it leaves to a single process is done here for all of them: a session is only an id that its
client repeats, and a call of an earlier revision is cancelled by its id in Redis.
"""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from aily.database.threads import in_database
from aily.http.bodies import read_body
from aily.problems import Forbidden, InvalidRequest
from aily.rest.json_input import decode_json
from chat.mcp_server.errors import JSON_TYPE, PARSE_ERROR, error_body
from chat.mcp_server.running_calls import CallId, cancel_call
from chat.mcp_server.tools import SceneTool, find_tool
from chat.openai.callers import Caller, caller_of

PATH = "/mcp"
SESSION_HEADER, VERSION_HEADER = "mcp-session-id", "mcp-protocol-version"
#: Revisions with sessions. A request without the header is of one of them.
LEGACY_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
_MAX_SESSION_CHARS = 128
_MAX_REQUEST_ID_CHARS = 1_000


async def handle_mcp(request: Request) -> Response:
    """Answer one message of a client."""
    _check_origin(request)
    caller = await caller_of(request)
    body = await read_body(request)
    try:
        decoded = decode_json(body)
    except InvalidRequest as error:
        return Response(error_body(PARSE_ERROR, error.message), 400, media_type=JSON_TYPE)
    # What is no message, the package refuses.
    message = decoded if isinstance(decoded, dict) else {}
    version = request.headers.get(VERSION_HEADER)
    is_legacy = version is None or version in LEGACY_VERSIONS
    session = request.headers.get(SESSION_HEADER, "")
    if len(session) > _MAX_SESSION_CHARS:
        raise InvalidRequest(
            f"This may have {_MAX_SESSION_CHARS} characters.", field="Mcp-Session-Id"
        )
    if is_legacy and message and "id" not in message:
        await _note(message, caller, session)
        return Response(status_code=202)
    return await _answer(message, body, caller, session, is_legacy=is_legacy)


def _check_origin(request: Request) -> None:
    """Raises Forbidden for a page of a foreign origin: a browser would send it here, also if the
    page had this server's name resolve to itself (DNS rebinding)."""
    origin = request.headers.get("origin")
    if origin is None or getattr(settings, "CORS_ALLOW_ALL_ORIGINS", False):
        return
    allowed = {*settings.CORS_ALLOWED_ORIGINS, *settings.CSRF_TRUSTED_ORIGINS}
    # The Host itself is checked already.
    own_host = request.headers.get("host", "")
    if origin not in allowed and _host_of(origin) != own_host.lower():
        raise Forbidden("Pages of this origin may not call this server.", field="Origin")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _note(message: Mapping[str, Any], caller: Caller, session: str) -> None:
    """Act on a notification of an earlier revision."""
    params = message.get("params")
    if message.get("method") != "notifications/cancelled" or not isinstance(params, dict):
        return
    request_id = params.get("requestId")
    if not isinstance(request_id, int | str) or isinstance(request_id, bool):
        return
    if len(str(request_id)) <= _MAX_REQUEST_ID_CHARS:
        await cancel_call(CallId(caller.api_key_id, session, request_id), caller.owner_id)


async def _answer(
    message: Mapping[str, Any], body: bytes, caller: Caller, session: str, *, is_legacy: bool
) -> Response:
    # Loading the package takes a second, for the first request: not on the event loop.
    protocol = await asyncio.to_thread(importlib.import_module, "chat.mcp_server.protocol")
    tool = await _tool(message, caller)
    client = protocol.ClientRequest(caller, session, tool)
    is_first = is_legacy and message.get("method") == "initialize"
    headers = {SESSION_HEADER: secrets.token_hex(16)} if is_first else {}
    return _Forwarded(protocol.get_manager().handle, {protocol.SCOPE_KEY: client}, body, headers)


async def _tool(message: Mapping[str, Any], caller: Caller) -> SceneTool | None:
    params = message.get("params")
    if message.get("method") != "tools/call" or not isinstance(params, dict):
        return None
    name = params.get("name")
    return await in_database(find_tool, caller.owner_id, name) if isinstance(name, str) else None


class _Forwarded(Response):
    """The response of an ASGI application to a request whose body was read."""

    def __init__(
        self, app: Any, scope: Mapping[str, Any], body: bytes, headers: Mapping[str, str]
    ) -> None:
        self.status_code = 200
        self.background = None
        self._app = app
        self._scope = scope
        self._request_body = body
        self._added = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_first = True

        async def receive_again() -> Message:
            nonlocal is_first
            if not is_first:
                return await receive()
            is_first = False
            return {"type": "http.request", "body": self._request_body, "more_body": False}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._added]
            await send(message)

        # Some servers leave the space after a value; the package compares values with the body.
        headers = [(name, value.strip()) for name, value in scope["headers"]]
        app_scope = {**scope, **self._scope, "headers": headers}
        await self._app(app_scope, receive_again, send_with_headers)
