"""Entry point of a web process: the ASGI application, with metrics from its first connection."""

from __future__ import annotations

import asyncio
import importlib

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from django.conf import settings
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries

from aily.monitoring.process import observe
from aily.process.start import end_loading
from aily.routing import routes

# Otherwise Django loads the URLs during the first request, which delays all others by 0.3 s.
importlib.import_module(settings.ROOT_URLCONF)
# Each costs a hop to a thread a request. The event loop's thread has no database connection; the
# threads that have one close old ones themselves (aily/database/threads.py).
request_started.disconnect(reset_queries)
request_started.disconnect(close_old_connections)

_pulse = observe("web")


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Pass a connection to its route. The first one names the event loop to watch."""
    _pulse.watch(asyncio.get_running_loop())
    await routes(scope, receive, send)


end_loading()
