"""Dramatiq's actors of tables: converting fields, keeping indexes, and dropping what was deleted
long ago."""

from __future__ import annotations

import logging
from threading import Lock

import dramatiq

from aily.redis.errors import RedisUnavailable
from chat.actors import MAX_AGE_MS, QUEUE
from chat.runs.actors import ring_feeder
from chat.tables import indexes, retyping, trash
from chat.tables.ai import policies, purging

logger = logging.getLogger(__name__)

_turn = Lock()
_policies = Lock()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def convert_fields() -> None:
    """Go on with fields whose kind is being changed, on one thread of the process at a time."""
    if not _turn.acquire(blocking=False):
        return
    try:
        retyping.convert_scheduled()
    finally:
        _turn.release()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def purge_tables() -> None:
    """Drop tables and fields that have been in the trash for TABLE_TRASH_DAYS, and old changes."""
    if dropped := trash.purge():
        logger.info("dropped %d tables and fields that were in the trash", dropped)
    trash.purge_changes()
    purging.purge()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def keep_indexes() -> None:
    """Make indexes for what is often sorted and filtered by, and drop those that nobody uses."""
    indexes.keep_indexes()


@dramatiq.actor(max_retries=0, max_age=MAX_AGE_MS, queue_name=QUEUE)
def fill_ai_fields() -> None:
    """Make the runs that policies of AI fields ask for, on one thread of the process at a time."""
    if not _policies.acquire(blocking=False):
        return
    try:
        if policies.fill_by_policies():
            ring_feeder()
    finally:
        _policies.release()


def ring_converter() -> None:
    """Have a worker go on now. Without Redis the schedule does within ten seconds."""
    try:
        convert_fields.send()
    except RedisUnavailable as error:
        logger.warning("the conversion of fields could not be begun: %s", error)
