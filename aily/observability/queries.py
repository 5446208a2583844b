"""Times every database statement, and names those that are slow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from aily.observability import metrics

logger = logging.getLogger(__name__)

_OPERATIONS = {"SELECT": "select", "INSERT": "insert", "UPDATE": "update", "DELETE": "delete"}


def time_queries() -> None:
    """Have all statements of this process timed, about 3 µs each."""
    connection_created.connect(_wrap, dispatch_uid="time_queries")


def _wrap(connection: BaseDatabaseWrapper, **_: Any) -> None:
    # A thread's wrapper lives on while its connections come from the pool and go back.
    if _time not in connection.execute_wrappers:
        connection.execute_wrappers.append(_time)


def _time(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    began = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        seconds = perf_counter() - began
        operation = _OPERATIONS.get(sql.lstrip()[:6], "other")
        metrics.query(operation).observe(seconds)
        if seconds >= settings.SLOW_QUERY_SECONDS:
            metrics.slow_query(operation).inc()
            # Never the parameters: they hold prompts.
            logger.warning("slow query, %.1f s: %s", seconds, " ".join(sql.split())[:500])
