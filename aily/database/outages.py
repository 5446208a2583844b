"""What callers are told when PostgreSQL or Redis cannot be had: away, or only busy here."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from aily.database.errors import is_outage, is_pool_busy
from aily.problems import Busy, Unavailable
from aily.redis.clients import RedisAway, RedisBusyError

#: What is raised where PostgreSQL or Redis cannot be had.
AWAY: tuple[type[Exception], ...] = (OperationalError, InterfaceError, *RedisAway)
#: After a restart of PostgreSQL or Redis it takes about this long until all is well again.
AWAY_RETRY_SECONDS = 5


def is_away(error: Exception) -> bool:
    """Whether an error says that PostgreSQL or Redis cannot be had.

    PostgreSQL reports some refusals of one statement by the same classes; those are faults of ours.
    """
    return isinstance(error, RedisAway) or is_outage(error)


def as_problem(error: BaseException) -> Unavailable:
    """The problem to answer a request with that failed with an error of AWAY."""
    if is_pool_busy(error) or isinstance(error, RedisBusyError):
        return Busy("All connections of this process are in use. Try again.")
    return Unavailable("A server that aily needs is away.", retry_after_seconds=AWAY_RETRY_SECONDS)
