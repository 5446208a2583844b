"""The cache's Redis: storing what was built, and removing keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import redis
from django_redis import get_redis_connection

from aily.redis.clients import RedisAway

logger = logging.getLogger(__name__)

#: What one SCAN is asked for (Valkey may give seven times as many), and what one UNLINK removes:
#: about a tenth of a millisecond of Redis each.
BATCH_SIZE = 200


def client() -> redis.Redis:
    """django-redis's client, without its pickling. Raises RedisAway."""
    found: redis.Redis = get_redis_connection("default")
    return found


@cache
def _store_script() -> Any:
    return client().register_script((Path(__file__).parent / "store.lua").read_text())


def store_built(token: str, entries: Sequence[tuple[str, str, bytes, int]]) -> None:
    """Store (lock key, key, value, milliseconds to live) where our lock still stands."""
    if not entries:
        return
    keys: list[str] = []
    args: list[str | bytes | int] = [token]
    for lock_key, key, value, milliseconds in entries:
        keys += lock_key, key
        args += value, milliseconds
    _store_script()(keys, args, client=client())


# --- Removing -----------------------------------------------------------------------------------
_owed: set[str] = set()
_owed_lock = Lock()


def unlink(keys: Iterable[str]) -> None:
    """Remove keys. While the cache is away they are remembered, and removed before it is read."""
    with _owed_lock:
        _owed.update(keys)
    try:
        settle_removals()
    except RedisAway as error:
        logger.warning("%d cached values are to be removed later: %s", len(_owed), error)


def settle_removals() -> None:
    """Remove what is to be removed. Raises RedisAway; then it is still to be removed."""
    if not _owed:
        return
    with _owed_lock:
        keys = list(_owed)
    _unlink(client(), keys)
    with _owed_lock:
        _owed.difference_update(keys)


def unlink_matching(pattern: str) -> int:
    """Remove all keys that match, some hundred at a time (SCAN and UNLINK). Returns how many.

    Redis answers others in between. Raises RedisAway.
    """
    connection: Any = client()
    cursor, removed = 0, 0
    while True:
        cursor, keys = connection.scan(cursor, match=pattern, count=BATCH_SIZE)
        removed += _unlink(connection, keys)
        if cursor == 0:
            return removed


def _unlink(connection: Any, keys: Sequence[str | bytes]) -> int:
    batches = (keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE))
    return sum(connection.unlink(*batch) for batch in batches)
