"""The ASGI application of a web process, observed from its start."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from django.conf import settings

from aily.monitoring.process import observe
from aily.process.garbage import spare_collections
from aily.routing import routes

# By itself Django loads the URLs during the first request, which held up all others for 0.3 s.
importlib.import_module(settings.ROOT_URLCONF)

_pulse = observe("web")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The routes; the first connection shows the pulse the loop that it is to watch."""
    _pulse.watch(asyncio.get_running_loop())
    await routes(scope, receive, send)


spare_collections()
