"""Where connections go: HTTP to Django, WebSockets to Channels."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django_application = get_asgi_application()

from accounts.websocket import OriginRequiredForCookies  # noqa: E402 - needs Django's apps
from chat.routing import websocket_urlpatterns  # noqa: E402

routes = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": OriginRequiredForCookies(URLRouter(websocket_urlpatterns)),
    }
)
