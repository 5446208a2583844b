"""Routes connections: HTTP to Django or an application beside it, WebSockets to Channels."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from functools import partial
from typing import cast

import django
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
    WebSocketResponseBodyEvent,
    WebSocketResponseStartEvent,
    WebSocketScope,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from starlette.types import ASGIApp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup(set_prefix=False)

from accounts.bearer import counted_name  # noqa: E402 - needs Django's apps
from accounts.login_models import LoginMethod, LoginOutcome  # noqa: E402
from accounts.metrics import create_series  # noqa: E402
from accounts.websocket import OriginRequiredForCookies, identify_websocket  # noqa: E402 - needs Django's apps
from aily.problems import NotFound  # noqa: E402
from aily.web.body_limits import (  # noqa: E402
    BodyLimits,
    LimitedBodies,
    error_forms,
    larger_bodies,
    larger_bodies_between,
    problem_response,
    upload_bytes,
)
from aily.web.chunked_forms import MeasuringHandler  # noqa: E402
from aily.web.turns import LargeBodyTurns, RequestTurns  # noqa: E402
from chat.api.key_requests import KeyRequests  # noqa: E402
from chat.mcp_server import routes as mcp  # noqa: E402
from chat.mcp_server.errors import error_form as mcp_error_form  # noqa: E402
from chat.openai import routes as openai  # noqa: E402
from chat.openai.errors import error_form  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402
from chat.services.prompts import max_request_bytes  # noqa: E402


class KnownPaths:
    """ASGI wrapper that answers a handshake for an unknown path with 404, before authentication."""

    def __init__(self, app: ASGI3Application) -> None:
        self._app = app

    # No coroutine: its frame would take 0.3 KiB a socket.
    def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        scope = cast("WebSocketScope", scope)
        path = scope["path"].removeprefix("/")
        if any(pattern.resolve(path) for pattern in websocket_urlpatterns):
            return self._app(scope, receive, send)
        return self._refuse(scope, receive, send)

    async def _refuse(
        self, scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await receive()
        problem = NotFound("There is no such path.")
        status, headers, body = problem_response(problem, scope["path"], scope["headers"])
        await send(
            WebSocketResponseStartEvent(
                type="websocket.http.response.start", status=status, headers=headers
            )
        )
        await send(
            WebSocketResponseBodyEvent(
                type="websocket.http.response.body", body=body, more_body=False
            )
        )


class HTTPRouter:
    """ASGI application that passes a request to the application its path belongs to."""

    def __init__(self, django: ASGI3Application) -> None:
        self._django = RequestTurns(django, counted_name)
        waiting = cast("ASGIApp", RequestTurns(django, counted_name, may_wait=True))
        key_requests = cast("ASGI3Application", KeyRequests(waiting))
        self._key_requests = LargeBodyTurns(key_requests, counted_name)
        application = cast("ASGI3Application", openai.application)
        #: POSTs have limits of their own, and wait for answers.
        self._openai = LargeBodyTurns(application, counted_name)
        self._openai_in_turn = RequestTurns(application, counted_name, may_wait=True)

    def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        scope = cast("HTTPScope", scope)
        path = scope["path"]
        if path == openai.PREFIX or path.startswith(_UNDER_OPENAI):
            if scope["method"] == "POST":
                return self._openai(scope, receive, send)
            return self._openai_in_turn(scope, receive, send)
        if path == _MCP:
            return cast("ASGI3Application", mcp.application)(scope, receive, send)
        if path.startswith(_TASKS):
            return self._key_requests(scope, receive, send)
        return self._django(scope, receive, send)


_TASKS = "/api/llmchat/"
_UNDER_OPENAI = f"{openai.PREFIX}/"
_MCP = mcp.PATH
error_forms[openai.PREFIX] = error_form
error_forms[_MCP] = mcp_error_form
larger_bodies.update(openai.larger_bodies)
for path in ("/api/llmchat/runs", f"{openai.PREFIX}/files"):
    larger_bodies[path] = partial(upload_bytes, "RUN_MAX_FILE_BYTES")
for path in (
    *(f"{_TASKS}request", f"{_TASKS}request/stream", f"{openai.PREFIX}/chat/completions"),
    *(f"{openai.PREFIX}/responses", f"{openai.PREFIX}/responses/input_tokens"),
):
    larger_bodies[path] = max_request_bytes
for end in ("/api", "/stream"):
    larger_bodies_between[f"{_TASKS}prompts/", end] = max_request_bytes
# Imports into a table, and imports that create one.
larger_bodies_between["/api/tables/", "/imports"] = partial(upload_bytes, "IMPORT_MAX_BYTES")
create_series(LoginMethod.values, LoginOutcome.values)
body_limits = BodyLimits(identify_websocket)
_sockets = OriginRequiredForCookies(URLRouter(websocket_urlpatterns), [openai.SOCKET_PATH])
routes = ProtocolTypeRouter(
    {
        "http": LimitedBodies(
            HTTPRouter(cast("ASGI3Application", MeasuringHandler())), body_limits
        ),
        "websocket": KnownPaths(cast("ASGI3Application", _sockets)),
    }
)
