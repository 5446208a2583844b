"""Routes connections: HTTP to Django, WebSockets to Channels."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import cast

import django
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
    WebSocketResponseBodyEvent,
    WebSocketResponseStartEvent,
    WebSocketScope,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup(set_prefix=False)

from accounts.websocket import OriginRequiredForCookies, identify_websocket  # noqa: E402 - needs Django's apps
from aily.problems import NotFound  # noqa: E402
from aily.web.body_limits import BodyLimits, LimitedBodies, problem_response  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402


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
        status, headers, body = problem_response(NotFound("There is no such path."), scope["path"])
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


body_limits = BodyLimits(identify_websocket)
_sockets = OriginRequiredForCookies(URLRouter(websocket_urlpatterns))
routes = ProtocolTypeRouter(
    {
        "http": LimitedBodies(cast("ASGI3Application", ASGIHandler()), body_limits),
        "websocket": KnownPaths(cast("ASGI3Application", _sockets)),
    }
)
