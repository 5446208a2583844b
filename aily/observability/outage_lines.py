"""One line when a server goes away, and one when it is back: all that follows from it is dropped.

During an outage every loop, request and library logs its own failure, many with a traceback. The
circuit breakers say here which servers are away (aily/concurrency/circuit_breaker.py).
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus

#: Servers that are away, as seen by this process.
_away: set[str] = set()
#: What failed during an outage may be logged this long after it.
_LATE_SECONDS = 5.0
_ended_at = -_LATE_SECONDS

#: Packages whose errors mean that a server did not answer, while one is away.
_DRIVERS = ("redis", "psycopg", "psycopg_pool", "dramatiq")
_DJANGO_ERRORS = ("OperationalError", "InterfaceError")
#: Loggers that report an outage in many lines of their own, without its exception.
_LIBRARIES = ("apscheduler", "dramatiq", "psycopg")
#: An error has few causes; a chain may have a loop.
_MAX_CAUSES = 10


def begin_outage(server: str) -> None:
    _away.add(server)


def end_outage(server: str) -> None:
    global _ended_at
    _away.discard(server)
    _ended_at = time.monotonic()


class OutageLines(logging.Filter):
    """Drops lines that only repeat what the circuit breaker has logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _away and time.monotonic() - _ended_at > _LATE_SECONDS:
            return True
        if _shows_driver_error(record):
            return False
        return not (_away and _is_about_outage(record))


def _is_about_outage(record: logging.LogRecord) -> bool:
    if record.name == "django.request":
        return getattr(record, "status_code", None) == HTTPStatus.SERVICE_UNAVAILABLE
    return record.name.partition(".")[0] in _LIBRARIES


def _shows_driver_error(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    shown = [*arguments, record.exc_info[1] if record.exc_info else None]
    return any(_is_driver_error(value) for value in shown if isinstance(value, BaseException))


def _is_driver_error(error: BaseException | None) -> bool:
    for _ in range(_MAX_CAUSES):
        if error is None:
            return False
        if any(_is_driver_class(kind) for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_driver_class(kind: type) -> bool:
    if kind.__module__ == "django.db.utils":
        return kind.__name__ in _DJANGO_ERRORS
    return kind.__module__.partition(".")[0] in _DRIVERS
