"""Where connections go: HTTP to Django, WebSockets to Channels."""

from __future__ import annotations

import os
from typing import Any

import django
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup(set_prefix=False)

from accounts.websocket import OriginRequiredForCookies, identify_websocket  # noqa: E402 - needs Django's apps
from aily.problems import NotFound  # noqa: E402
from aily.web.body_limits import BodyLimits, LimitedBodies, problem_response  # noqa: E402
from aily.web.handler import LoopHandler  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402


class KnownPaths:
    """ASGI wrapper: a handshake for a path that is not there gets a 404, whoever asks."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/")
        if any(pattern.resolve(path) for pattern in websocket_urlpatterns):
            await self._app(scope, receive, send)
            return
        await receive()
        status, headers, body = problem_response(NotFound("There is no such path."), scope["path"])
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": body})


body_limits = BodyLimits(identify_websocket)
routes = ProtocolTypeRouter(
    {
        "http": LimitedBodies(LoopHandler(), body_limits),
        "websocket": KnownPaths(OriginRequiredForCookies(URLRouter(websocket_urlpatterns))),
    }
)
