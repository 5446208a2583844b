"""Probes for whoever runs aily: is the process alive, and can it do its work? And the page of a
request that it could not."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable
from typing import Any

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
from aily.web.shutdown import draining

logger = logging.getLogger(__name__)


@never_cache
async def livez(request: HttpRequest) -> HttpResponse:
    """Answers as long as the process does. Touches nothing else."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 while database and Redis answer, else 503. Always within `PROBE_SECONDS`.

    503 as well once the process is to stop: nothing new should be sent to it.
    """
    if draining().is_set():
        return JsonResponse({"status": "draining"}, status=503)
    database, redis = await asyncio.gather(
        _probe("database", in_database(_ask_database)), _probe("redis", _ask_redis())
    )
    # All threads and connections may be in use by others, and these be answered: that is no outage.
    database = database or has_answered_since(time.monotonic() - PROBE_SECONDS / 2)
    ready = database and redis
    parts = {"database": database, "redis": redis}
    body = {name: "ok" if answers else "unavailable" for name, answers in parts.items()}
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "parts": body}, status=200 if ready else 503
    )


async def _probe(part: str, question: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await question
    except Exception as error:  # noqa: BLE001 - whatever it is, the part cannot be used
        logger.warning("not ready: %s: %r", part, error)
        return False
    return True


def _ask_database() -> None:
    execute("SELECT 1")


async def _ask_redis() -> None:
    # redis-py types the sync and the async client's replies as one union.
    client: Any = async_redis()
    await client.ping()


# --- Pages that failed ----------------------------------------------------------------------------
def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: a 503 that says when to come back where a server is away or busy."""
    error = sys.exc_info()[1]
    if not isinstance(error, AWAY):
        return server_error(request)
    problem = as_problem(error)
    response = render(None, "503.html", {"message": problem.message}, status=problem.status)
    response["Retry-After"] = str(problem.retry_after_seconds)
    return response
