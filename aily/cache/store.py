"""The cache's Redis: storing what was built, and removing keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import cast

import redis
from django_redis import get_redis_connection

from aily.redis.errors import RedisUnavailable
from aily.redis.scripts import LuaScript

logger = logging.getLogger(__name__)

#: Keys that one SCAN asks for (Valkey may give seven times as many), and that one UNLINK removes:
#: about a tenth of a millisecond of Redis each.
BATCH_SIZE = 200


def client() -> redis.Redis:
    """django-redis's client, without its pickling. Raises RedisUnavailable."""
    found: redis.Redis = get_redis_connection("default")
    return found


_store = LuaScript[int](Path(__file__).parent / "lua" / "store.lua", client)


def store_built(token: str, entries: Sequence[tuple[str, str, bytes, int]]) -> None:
    """Store (lock key, key, value, milliseconds to live) where the lock still has our token."""
    if entries:
        _store.call_many(
            [
                ([lock_key, key], [token, value, milliseconds])
                for lock_key, key, value, milliseconds in entries
            ]
        )


# --- Removing -----------------------------------------------------------------------------------
_to_remove: set[str] = set()
_to_remove_lock = Lock()


def unlink(keys: Iterable[str]) -> None:
    """Remove keys. While the cache is away they are kept, and removed before it is read again."""
    with _to_remove_lock:
        _to_remove.update(keys)
    try:
        retry_removals()
    except RedisUnavailable as error:
        logger.warning("%d cached values could not be removed yet: %s", len(_to_remove), error)


def retry_removals() -> None:
    """Remove the keys that are still to be removed. Raises RedisUnavailable and keeps them then."""
    if not _to_remove:
        return
    with _to_remove_lock:
        keys = list(_to_remove)
    _unlink(client(), keys)
    with _to_remove_lock:
        _to_remove.difference_update(keys)


def unlink_matching(pattern: str) -> int:
    """Remove all keys that match, some hundred at a time (SCAN and UNLINK). Returns how many.

    Redis serves other clients in between. Raises RedisUnavailable.
    """
    connection = client()
    cursor, removed = 0, 0
    while True:
        page = connection.scan(cursor, match=pattern, count=BATCH_SIZE)
        cursor, keys = cast("tuple[int, list[bytes]]", page)
        removed += _unlink(connection, keys)
        if cursor == 0:
            return removed


def _unlink(connection: redis.Redis, keys: Sequence[str | bytes]) -> int:
    batches = (keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE))
    return sum(cast("int", connection.unlink(*batch)) for batch in batches)
