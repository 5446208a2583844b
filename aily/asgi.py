"""The ASGI application: HTTP to Django, WebSockets to Channels."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django_application = get_asgi_application()

from accounts.websocket import OriginRequiredForCookies  # noqa: E402 - needs Django's apps
from aily.observability.process import observe  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402

_routes = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": OriginRequiredForCookies(URLRouter(websocket_urlpatterns)),
    }
)
_pulse = observe("web")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The routes; the first connection shows the pulse the loop that it is to watch."""
    _pulse.watch(asyncio.get_running_loop())
    await _routes(scope, receive, send)
