"""Dramatiq's actors of runs: feeding them, and deleting old ones."""

from __future__ import annotations

import logging
from threading import Lock

import dramatiq

from aily.redis.errors import RedisUnavailable
from chat.actors import MAX_AGE_MS, QUEUE, after_settling
from chat.runs import retention, stepping
from chat.runs.kinds import all_kinds

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
    """Delete runs that ended longer ago than RUN_RETENTION_DAYS, if that is set, and what each
    kind of them has to delete."""
    if deleted := retention.purge_scheduled():
        logger.info("deleted %d old runs", deleted)
    for kind in all_kinds():
        kind.purge()


@after_settling
def ring_if_due() -> None:
    """Have a worker take a turn if any run can go on."""
    if stepping.due_runs(limit=1):
        ring_feeder()


def ring_feeder() -> None:
    """Have a worker take a turn now. Without Redis the next one comes with the schedule."""
    try:
        feed_runs.send()
    except RedisUnavailable as error:
        logger.warning("the feeder of runs could not be rung: %s", error)
