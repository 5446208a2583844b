"""Draining workers: they claim nothing more, let their calls end, and stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q

from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import Worker

logger = logging.getLogger(__name__)


def find_workers(name: str) -> list[Worker]:
    """The living workers of this id, process (`host:pid`) or host."""
    hostname, _, pid = name.rpartition(":")
    condition = Q(hostname=name)
    if hostname and pid.isdecimal() and len(pid) < 10:
        condition |= Q(hostname=hostname, pid=int(pid))
    try:
        condition |= Q(pk=UUID(name))
    except ValueError:
        pass
    return list(Worker.objects.filter(condition, is_dead=False))


def drain(workers: Sequence[Worker]) -> None:
    """Have these workers drain. While Redis is away they find out with their next renewal."""
    ids = [worker.pk for worker in workers]
    Worker.objects.filter(pk__in=ids, is_dead=False).update(is_draining=True)
    try:
        scheduler.reload_workers()
    except RedisUnavailable as error:
        logger.warning("workers were not notified of the drain: Redis is away (%s)", error)


def still_running(workers: Sequence[Worker]) -> int:
    """How many of these workers have not stopped yet."""
    ids = [worker.pk for worker in workers]
    return Worker.objects.filter(pk__in=ids, is_dead=False).count()
