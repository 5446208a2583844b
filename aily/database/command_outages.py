"""Commands, unlike servers, do not wait for PostgreSQL or Redis: they print an error and end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError

from aily.database.backend.connection import BoundedConnection
from aily.database.errors import is_outage
from aily.redis.errors import RedisUnavailable

#: How long a command waits for its first connection to be accepted.
_PROBE_SECONDS = 1.0
_EXIT_CODE = 2
#: They would log the same error again.
_LOGGERS = ("aily.concurrency.circuit_breaker", "psycopg.pool")


@contextmanager
def end_at_outage() -> Iterator[None]:
    """If PostgreSQL or Redis is away, end the process with one sentence and exit code 2."""
    BoundedConnection.probe_seconds = _PROBE_SECONDS
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        if not is_outage(error):
            raise
        _end("PostgreSQL", "DATABASE_URL", error)
    except RedisUnavailable as error:
        _end("Redis", "REDIS_URL", error)


def _end(server: str, variable: str, error: Exception) -> None:
    reason = " ".join(str(error).split()).removesuffix(".")
    sys.stderr.write(f"aily: {server} cannot be used ({variable}): {reason}\n")
    raise SystemExit(_EXIT_CODE)
