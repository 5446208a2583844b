"""Dramatiq's actors of imports and exports: working on them, and deleting old ones."""

from __future__ import annotations

import logging

import dramatiq

from aily.redis.errors import RedisUnavailable
from chat.actors import MAX_AGE_MS, QUEUE, after_settling
from chat.tables.transfers import retention
from chat.tables.transfers.leases import has_waiting
from chat.tables.transfers.threads import TransferThreads
from chat.tables.transfers.working import work_on_next

logger = logging.getLogger(__name__)

_threads = TransferThreads(work_on_next)


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def work_on_transfers() -> None:
    """Have a thread of this process work on imports and exports, if any waits."""
    wake_if_due()


@after_settling
def wake_if_due() -> None:
    """`work_on_transfers` each second, without a message."""
    if has_waiting():
        _threads.wake()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def purge_transfers() -> None:
    """Delete what ended imports and exports have left behind."""
    if deleted := retention.purge():
        logger.info("deleted %d old imports and exports", deleted)


def ring_transfers() -> None:
    """Have a worker begin now. Without Redis it comes with the schedule."""
    try:
        work_on_transfers.send()
    except RedisUnavailable as error:
        logger.warning("no worker could be rung for a transfer: %s", error)
