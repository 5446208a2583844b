"""Probes (is the process alive, is it ready?), and the page of a request that failed."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable
from typing import cast

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.defaults import server_error

from aily.database.errors import has_answered_since
from aily.database.outages import AWAY, as_problem
from aily.database.rows import execute
from aily.database.threads import in_database
from aily.observability.server import PROBE_SECONDS
from aily.redis.clients import async_redis
from aily.web.shutdown import shutdown_event

logger = logging.getLogger(__name__)


@never_cache
async def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all. Asks no other server."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 while database and Redis answer, else 503. Always within `PROBE_SECONDS`.

    Also 503 once the process begins to shut down: it should get no new requests.
    """
    if shutdown_event().is_set():
        return JsonResponse({"status": "draining"}, status=503)
    database, redis = await asyncio.gather(
        _probe("database", in_database(_query_database)), _probe("redis", _ping_redis())
    )
    # If all threads and connections are busy with statements that get answers, it is no outage.
    database = database or has_answered_since(time.monotonic() - PROBE_SECONDS / 2)
    ready = database and redis
    parts = {"database": database, "redis": redis}
    body = {name: "ok" if is_ok else "unavailable" for name, is_ok in parts.items()}
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "parts": body}, status=200 if ready else 503
    )


async def _probe(part: str, request: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await request
    except Exception as error:  # noqa: BLE001 - any error means that the part cannot be used
        logger.warning("not ready: %s: %r", part, error)
        return False
    return True


def _query_database() -> None:
    execute("SELECT 1")


async def _ping_redis() -> None:
    # redis-py types the sync and the async client's replies as one union.
    await cast("Awaitable[bool]", async_redis().ping())


# --- Failed pages ---------------------------------------------------------------------------------
def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: a 503 with Retry-After if a server is unavailable or busy."""
    error = sys.exc_info()[1]
    if not isinstance(error, AWAY):
        return server_error(request)
    problem = as_problem(error)
    response = render(None, "503.html", {"message": problem.message}, status=problem.status)
    response["Retry-After"] = str(problem.retry_after_seconds)
    return response
