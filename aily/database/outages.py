"""Outages of PostgreSQL and Redis, and the problem that a request is answered with."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from aily.concurrency.circuit_breaker import OUTAGE_RETRY_SECONDS
from aily.database.errors import is_outage, is_pool_busy
from aily.problems import Busy, Unavailable
from aily.redis.errors import RedisBusyError, RedisUnavailable

#: Exceptions that an outage of PostgreSQL or Redis raises.
AWAY: tuple[type[Exception], ...] = (OperationalError, InterfaceError, *RedisUnavailable)


def is_away(error: Exception) -> bool:
    """Whether an error of AWAY means an outage.

    PostgreSQL also raises these classes for statements that it refuses, which are faults of aily.
    """
    return isinstance(error, RedisUnavailable) or is_outage(error)


def as_problem(error: BaseException) -> Unavailable:
    """The problem for a request that failed with an error of AWAY."""
    if is_pool_busy(error) or isinstance(error, RedisBusyError):
        return Busy(_("All connections of this process are in use. Try again."))
    return Unavailable(
        _("A server that aily needs is away."), retry_after_seconds=OUTAGE_RETRY_SECONDS
    )
