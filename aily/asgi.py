"""The ASGI application of a web process, observed from its start."""

from __future__ import annotations

import asyncio
from typing import Any

from aily.garbage import spare_collections
from aily.observability.process import observe
from aily.routing import routes

_pulse = observe("web")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The routes; the first connection shows the pulse the loop that it is to watch."""
    _pulse.watch(asyncio.get_running_loop())
    await routes(scope, receive, send)


spare_collections()
