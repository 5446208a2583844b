"""A table to cache, and processes that read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from threading import Event

from aily.cache import Cached
from aily.cache.keys import Keyspace

KEYSPACE = Keyspace[int]("test", version=1)


#: Processes look into Redis each time.
NO_COPIES = Keyspace[int]("test", version=1, local_seconds=0)


class Table:
    """Rows that a value is built from; counts what is asked for. `gate` holds the asking up."""

    def __init__(self, rows: Mapping[int, str] | None = None) -> None:
        self.rows = dict(rows or {})
        self.queries = 0
        self.built: Counter[int] = Counter()
        self.is_reading = Event()
        self.gate = Event()
        self.gate.set()

    def load(self, keys: Collection[int]) -> dict[int, str]:
        self.queries += 1
        self.built.update(keys)
        found = {key: self.rows[key] for key in keys if key in self.rows}
        self.is_reading.set()
        assert self.gate.wait(10)
        return found

    def process(self, keyspace: Keyspace[int] | None = None) -> Cached[int, str]:
        """The cache as a process of its own has it: what others read is in Redis alone."""
        return Cached(keyspace or KEYSPACE, str, self.load)

    def filtered(self) -> Cached[int, str]:
        """The same, with a filter of the keys there are."""
        return Cached(KEYSPACE, str, self.load, every_key=self.every_key)

    def every_key(self) -> list[int]:
        self.queries += 1
        return list(self.rows)
