"""Dramatiq's actors of runs: feeding them, and deleting old ones."""

from __future__ import annotations

import logging
from threading import Lock

import dramatiq

from aily.redis.errors import RedisUnavailable
from chat.actors import MAX_AGE_MS, QUEUE
from chat.runs import retention, stepping

logger = logging.getLogger(__name__)

_turn = Lock()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def feed_runs() -> None:
    """Take a turn over all runs, on one thread of the process at a time: there are two."""
    if not _turn.acquire(blocking=False):
        return
    try:
        stepping.step()
    finally:
        _turn.release()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def purge_runs() -> None:
    """Delete runs that ended longer ago than RUN_RETENTION_DAYS, if that is set."""
    if deleted := retention.purge_scheduled():
        logger.info("deleted %d old runs", deleted)


def ring_feeder() -> None:
    """Have a worker take a turn now. Without Redis the next one comes with the schedule."""
    try:
        feed_runs.send()
    except RedisUnavailable as error:
        logger.warning("the feeder of runs could not be rung: %s", error)
