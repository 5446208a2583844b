"""Outages of PostgreSQL and Redis, and the problem that a request is answered with."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from aily.concurrency.circuit_breaker import OUTAGE_RETRY_SECONDS
from aily.database.errors import is_disk_full, is_outage, is_pool_busy
from aily.problems import Busy, StorageFull, Unavailable
from aily.process.disk import DiskRoom
from aily.redis.errors import RedisBusyError, RedisDiskError, RedisUnavailable

#: Somebody has to make room: that takes longer than a restart.
_FULL_DISK_RETRY_SECONDS = 10

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
    if isinstance(error, RedisDiskError) or is_disk_full(error):
        return storage_full()
    return Unavailable(
        _("A server that aily needs is away."), retry_after_seconds=OUTAGE_RETRY_SECONDS
    )


def storage_full() -> StorageFull:
    """The problem of a request that would have to store something."""
    return StorageFull(
        _("The disk is full. Nothing was stored; what is stored can be read."),
        retry_after_seconds=_FULL_DISK_RETRY_SECONDS,
    )


def require_disk_room() -> None:
    """Raise StorageFull where the disk of the data directory has no room for more."""
    if is_disk_low():
        raise storage_full()


def is_disk_low() -> bool:
    """Whether fewer than MIN_FREE_DISK_BYTES are free."""
    return _disk_room().is_below(settings.MIN_FREE_DISK_BYTES)


@cache
def _disk_room() -> DiskRoom:
    return DiskRoom(settings.DATA_DIR)
