"""Read-through cache: this process's copy, else the value in Redis, else one process builds it."""

from __future__ import annotations

import random
import secrets
import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import Any, Final, Generic, Literal, TypeVar, cast
from weakref import WeakSet

import msgspec
from django.db import connection, transaction

from aily.cache import store
from aily.cache.filters import ExistingKeys
from aily.cache.keys import Keyspace
from aily.cache.refreshing import Refresher
from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.database.threads import in_database
from aily.redis.errors import RedisUnavailable

#: Seconds after which a builder counts as dead, and others build themselves.
LOCK_SECONDS = 5.0
#: How often a process that waits for a builder reads again.
POLL_SECONDS = 0.01
#: Copies that a process keeps of one keyspace.
MAX_LOCAL = 20_000
#: Entries that are built, stored or read with one command.
MAX_BATCH = 500
#: Copies that an event loop uses are read again after this share of their time.
REFRESH_SHARE = 0.7

K = TypeVar("K", bound="int | str")
V = TypeVar("V")


_all: WeakSet[Cached[Any, Any]] = WeakSet()


def forget_copies() -> None:
    """Drop this process's copies of everything, as a new process has none."""
    for cached in _all:
        cached.drop_copies()


class Unknown(Enum):
    """The type of UNKNOWN: this process has no copy."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    """A value in Redis; None: there is no such key in the database."""

    value: V | None
    is_fresh: bool


class Cached(Generic[K, V]):
    """Values of one keyspace. They are shared between threads, so they must be immutable.

    `load` gives the values of those of the keys that exist, from the database. A key is built by
    one process at a time, while others get the old value, or wait where there is none. The
    builder's lock is a fence as well: an invalidation takes it away, and what was built from rows
    read before then is not stored.

    `every_key` returns all keys of the database: with it, keys that do not exist cost no query.
    """

    def __init__(
        self,
        keyspace: Keyspace[K],
        kind: object,
        load: Callable[[Collection[K]], Mapping[K, V]],
        *,
        every_key: Callable[[], Iterable[K]] | None = None,
    ) -> None:
        self.keyspace = keyspace
        self._filter = ExistingKeys(keyspace, every_key) if every_key else None
        self._load = load
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[V] = msgspec.msgpack.Decoder(kind)
        self._lock = Lock()
        #: The copies of this process, and until when they may be used (monotonic).
        self._local: dict[K, tuple[float, V | None]] = {}
        _all.add(self)
        self._batcher = per_loop(lambda: Batcher(self._get_batch, max_size=MAX_BATCH))
        self._checker = per_loop(lambda: Batcher(self._check_batch, max_size=MAX_BATCH))
        refresh_seconds = keyspace.local_seconds * REFRESH_SHARE
        self._refresher = per_loop(lambda: Refresher(refresh_seconds, self._refresh))

    # --- Reading --------------------------------------------------------------------------------
    def known(self, key: K) -> V | Literal[Unknown.UNKNOWN] | None:
        """This process's copy, or UNKNOWN. Never waits: safe on an event loop."""
        copy = self._local.get(key)
        if copy is None or copy[0] < time.monotonic():
            return UNKNOWN
        return copy[1]

    def get(self, key: K) -> V | None:
        return self.get_many([key]).get(key)

    def get_many(self, keys: Collection[K]) -> dict[K, V]:
        """The values of those keys that exist. At most one query for each `MAX_BATCH` of them.

        While the cache is away it is one query a call. Raises what `load` raises.
        """
        found: dict[K, V] = {}
        missing: list[K] = []
        for key in dict.fromkeys(keys):
            value = self.known(key)
            if value is UNKNOWN:
                missing.append(key)
            elif value is not None:
                found[key] = value
        for start in range(0, len(missing), MAX_BATCH):
            values = self._fetch(missing[start : start + MAX_BATCH])
            found |= {key: value for key, value in values.items() if value is not None}
        return found

    async def aget(self, key: K) -> V | None:
        """`get` for an event loop. Calls of the same moment share one look-up."""
        value = self.known(key)
        if value is UNKNOWN:
            value = await self._batcher().submit(key)
        # Made-up keys have no value: nobody can have them refreshed.
        if value is not None and self.keyspace.local_seconds:
            self._refresher().note_use(key)
        return value

    def check(self, key: K) -> V | None:
        """`get`, bypassing this process's copies: never returns what was invalidated before."""
        return self._fetch([key]).get(key)

    async def acheck(self, key: K) -> V | None:
        """`check` for an event loop. Calls of the same moment share one look-up."""
        return await self._checker().submit(key)

    async def _check_batch(self, keys: list[K]) -> Sequence[V | None]:
        found = await in_database(self._fetch, list(dict.fromkeys(keys)))
        return [found.get(key) for key in keys]

    async def _get_batch(self, keys: list[K]) -> Sequence[V | None]:
        found = await in_database(self.get_many, keys)
        return [found.get(key) for key in keys]

    async def _refresh(self, keys: list[K]) -> None:
        """Renew the copies of these keys. While the cache is away they run out."""
        with suppress(*RedisUnavailable):
            for start in range(0, len(keys), MAX_BATCH):
                await in_database(self._fetch_shared, keys[start : start + MAX_BATCH])

    def _fetch(self, keys: list[K]) -> dict[K, V | None]:
        if connection.in_atomic_block:
            # An open transaction may see rows that no other sees: they must not be cached.
            return self._loaded(keys)
        try:
            return self._fetch_shared(keys)
        except RedisUnavailable:
            asked_at = time.monotonic()
            values = self._loaded(keys)
            self._remember(values, asked_at)
            return values

    def _fetch_shared(self, keys: list[K]) -> dict[K, V | None]:
        store.retry_removals()
        values: dict[K, V | None] = {}
        give_up_at = time.monotonic() + LOCK_SECONDS
        while True:
            asked_at = time.monotonic()
            entries = self._read([key for key in keys if key not in values])
            found = {key: entry.value for key, entry in entries.items()}
            fresh = {key for key, entry in entries.items() if entry.is_fresh}
            wanted = [key for key in keys if key not in values and key not in fresh]
            impossible = self._impossible([key for key in wanted if key not in entries])
            found |= self._build([key for key in wanted if key not in impossible])
            self._remember(found, asked_at)
            values |= found | dict.fromkeys(impossible)
            waiting = [key for key in keys if key not in values]
            if not waiting:
                return values
            if time.monotonic() > give_up_at:
                return values | self._loaded(waiting)
            time.sleep(POLL_SECONDS)

    def _read(self, keys: Sequence[K]) -> dict[K, _Entry[V]]:
        found = store.client().mget([self.keyspace.key(key) for key in keys])
        raw = cast("list[bytes | None]", found)
        entries = ((key, self._decode(data)) for key, data in zip(keys, raw, strict=True) if data)
        return {key: entry for key, entry in entries if entry is not None}

    def _impossible(self, keys: Sequence[K]) -> set[K]:
        return self._filter.impossible(keys) if keys and self._filter else set()

    # --- Building -------------------------------------------------------------------------------
    def _build(self, keys: Sequence[K]) -> dict[K, V | None]:
        """Build and store those of the keys that no other process is building."""
        if not keys:
            return {}
        token = secrets.token_hex(8)
        locked = self._lock_keys(keys, token)
        if not locked:
            return {}
        # Between our look and our lock another builder may have finished.
        entries = self._read(locked)
        found = {key: entry.value for key, entry in entries.items() if entry.is_fresh}
        try:
            built = self._loaded([key for key in locked if key not in found])
        except BaseException:
            store.unlink(map(self.keyspace.lock_key, locked))
            raise
        store.unlink(map(self.keyspace.lock_key, found))
        store.store_built(token, [self._encode(key, value) for key, value in built.items()])
        return found | built

    def _lock_keys(self, keys: Sequence[K], token: str) -> list[K]:
        pipeline = store.client().pipeline(transaction=False)
        for key in keys:
            lock_key = self.keyspace.lock_key(key)
            pipeline.set(lock_key, token, nx=True, px=int(LOCK_SECONDS * 1000))
        return [key for key, is_ours in zip(keys, pipeline.execute(), strict=True) if is_ours]

    def _loaded(self, keys: Collection[K]) -> dict[K, V | None]:
        found = self._load(keys) if keys else {}
        return {key: found.get(key) for key in keys}

    def _encode(self, key: K, value: V | None) -> tuple[str, str, bytes, int]:
        """Build an entry for `store_built`. The value has the Unix time until which it is fresh."""
        seconds = self.keyspace.null_seconds if value is None else self.keyspace.seconds
        seconds *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
        # The old value is kept for as long again: for readers while a process builds a new one.
        kept = seconds if value is None else 2 * seconds
        body = b"" if value is None else self._encoder.encode(value)
        data = struct.pack(">d", time.time() + seconds) + body
        return self.keyspace.lock_key(key), self.keyspace.key(key), data, int(kept * 1000)

    def _decode(self, data: bytes) -> _Entry[V] | None:
        """None for what cannot be read: it is built anew."""
        try:
            (fresh_until,) = struct.unpack_from(">d", data)
            value = self._decoder.decode(data[8:]) if len(data) > 8 else None
        except (struct.error, msgspec.MsgspecError):
            return None
        return _Entry(value, time.time() < fresh_until)

    def _remember(self, values: Mapping[K, V | None], asked_at: float) -> None:
        """Keep copies. Their time runs from when the look-up began: a change may come during it."""
        if not self.keyspace.local_seconds:
            return
        until = asked_at + self.keyspace.local_seconds
        with self._lock:
            if len(self._local) + len(values) > MAX_LOCAL:
                self._local.clear()
            self._local.update({key: (until, value) for key, value in values.items()})

    # --- Invalidating ---------------------------------------------------------------------------
    def invalidate(self, keys: Iterable[K]) -> None:
        """Forget these once the transaction is committed, in all processes within a second."""
        gone = list(keys)
        _after_commit(lambda: self._forget(gone))

    def added(self, keys: Iterable[K]) -> None:
        """`invalidate` for keys that are new."""
        self.invalidate(keys)
        if self._filter:
            _after_commit(self._filter.expire)

    def _forget(self, keys: Sequence[K]) -> None:
        self._drop_copies_of(keys)
        # Locks go first: without them no process stores what it read before the commit.
        store.unlink([self.keyspace.lock_key(key) for key in keys])
        store.unlink([self.keyspace.key(key) for key in keys])
        # Another thread of this process may have read the old value meanwhile.
        self._drop_copies_of(keys)

    def invalidate_all(self) -> None:
        """Forget all values once committed. Takes about a second for each million cached keys."""
        _after_commit(self._forget_all)

    def _drop_copies_of(self, keys: Iterable[K]) -> None:
        with self._lock:
            for key in keys:
                self._local.pop(key, None)

    def drop_copies(self) -> None:
        with self._lock:
            self._local.clear()

    def _forget_all(self) -> None:
        self.drop_copies()
        # As in `_forget`. SCAN finds whatever was there when it began, so that a value stored
        # under a lock that the first pass came too late for is found by the second.
        for pattern in self.keyspace.patterns:
            store.unlink_matching(pattern)


def _after_commit(work: Callable[[], None]) -> None:
    if connection.in_atomic_block:
        transaction.on_commit(work)
    else:  # on_commit would take a database connection to find that out
        work()
