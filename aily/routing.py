"""Where connections go: HTTP to Django, WebSockets to Channels."""

from __future__ import annotations

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup(set_prefix=False)

from accounts.websocket import OriginRequiredForCookies  # noqa: E402 - needs Django's apps
from aily.handler import LoopHandler  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402

routes = ProtocolTypeRouter(
    {
        "http": LoopHandler(),
        "websocket": OriginRequiredForCookies(URLRouter(websocket_urlpatterns)),
    }
)
