"""Makes a process observable: metrics, pulse and, if it has one, its metrics port."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from django.conf import settings
from django.db import connection

from aily.database.errors import has_answered_since
from aily.database.rows import execute
from aily.monitoring.pulse import Pulse, sample_pool
from aily.observability import metrics, tracing
from aily.observability.queries import time_queries
from aily.observability.server import PROBE_SECONDS, Check, serve
from aily.redis.clients import sync_redis

logger = logging.getLogger(__name__)


def observe(
    process: str, *, uses_database: bool = True, parts: Mapping[str, Check] | None = None
) -> Pulse:
    """Begin to measure, and to serve on METRICS_PORT if that is set. Once a process.

    /readyz checks `parts` besides Redis and, if it is used, the database.
    """
    metrics.name_process(process)
    tracing.begin(process)
    checks: dict[str, Check] = {"redis": _is_redis_up, **(parts or {})}
    pulse = Pulse()
    if uses_database:
        time_queries()
        pulse.add(sample_pool)
        checks["database"] = _is_database_up
    pulse.start()
    if settings.METRICS_PORT:
        try:
            serve(
                settings.METRICS_HOST,
                settings.METRICS_PORT,
                is_alive=pulse.is_alive,
                parts=checks,
            )
        except OSError as error:
            # The process works without it; of several on one machine the first has the port.
            logger.warning("no metrics on port %d: %s", settings.METRICS_PORT, error)
    return pulse


def _is_database_up() -> bool:
    # If all connections are busy and get answers, none would be free for this check.
    if has_answered_since(time.monotonic() - PROBE_SECONDS / 2):
        return True
    try:
        execute("SELECT 1")
    finally:
        # Back into the pool: this thread ends with the check.
        connection.close()
    return True


def _is_redis_up() -> bool:
    return bool(sync_redis().ping())
