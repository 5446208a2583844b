"""What callers are told when PostgreSQL or Redis cannot be had: away, or only busy here."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from aily.concurrency.circuit import OUTAGE_RETRY_SECONDS
from aily.database.errors import is_outage, is_pool_busy
from aily.problems import Busy, Unavailable
from aily.redis.errors import RedisBusyError, RedisUnavailable

#: What is raised where PostgreSQL or Redis cannot be had.
AWAY: tuple[type[Exception], ...] = (OperationalError, InterfaceError, *RedisUnavailable)


def is_away(error: Exception) -> bool:
    """Whether an error says that PostgreSQL or Redis cannot be had.

    PostgreSQL reports some refusals of one statement by the same classes; those are faults of ours.
    """
    return isinstance(error, RedisUnavailable) or is_outage(error)


def as_problem(error: BaseException) -> Unavailable:
    """The problem to answer a request with that failed with an error of AWAY."""
    if is_pool_busy(error) or isinstance(error, RedisBusyError):
        return Busy("All connections of this process are in use. Try again.")
    return Unavailable(
        "A server that aily needs is away.", retry_after_seconds=OUTAGE_RETRY_SECONDS
    )
