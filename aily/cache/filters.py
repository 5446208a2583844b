"""Filters of existing keys, so that made-up ones cost no query, however many different ones come.

A Bloom filter in each process: about ten bits a key, one made-up key in a hundred gets through.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable
from threading import Lock
from typing import Generic, TypeVar, cast

from rbloom import Bloom

from aily.cache import store
from aily.cache.keys import Keyspace

FALSE_POSITIVES = 0.01
#: While keys are being made all the time, a filter is built no more often than this.
REBUILD_SECONDS = 1.0

K = TypeVar("K", bound="int | str")


class ExistingKeys(Generic[K]):
    """The existing keys of a keyspace. Never excludes one whose creation has returned.

    A mark in Redis says that no key was made since: it is removed with every new key, and a filter
    counts only as long as the mark is the one it was built under.
    """

    def __init__(self, keyspace: Keyspace[K], every_key: Callable[[], Iterable[K]]) -> None:
        self._mark_key = keyspace.mark_key
        self._every_key = every_key
        self._lock = Lock()
        self._bloom: Bloom | None = None
        self._mark: bytes | None = None
        self._built_at = float("-inf")

    def impossible(self, keys: Collection[K]) -> set[K]:
        """Return the keys that certainly do not exist. Raises RedisUnavailable."""
        mark = self._read_mark()
        with self._lock:
            if mark is None or mark != self._mark:
                self._rebuild()
                mark = self._mark
            bloom = self._bloom if mark is not None else None
        return set() if bloom is None else {key for key in keys if str(key) not in bloom}

    def _read_mark(self) -> bytes | None:
        return cast("bytes | None", store.client().get(self._mark_key))

    def _rebuild(self) -> None:
        """Build anew under a mark that was set before the keys are read."""
        self._mark = None
        if time.monotonic() - self._built_at < REBUILD_SECONDS:
            return
        store.client().set(self._mark_key, secrets.token_hex(8), nx=True)
        mark = self._read_mark()
        keys = [str(key) for key in self._every_key()]
        self._bloom = Bloom(max(len(keys), 1), FALSE_POSITIVES)
        self._bloom.update(keys)
        self._mark = mark
        self._built_at = time.monotonic()

    def expire(self) -> None:
        """Have all processes build their filter anew: a new key is committed."""
        store.unlink([self._mark_key])
