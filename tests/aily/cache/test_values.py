"""The cache layer, on its own: what reaches the database, and what becomes of a change."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.db import transaction
from django_redis.pool import ConnectionFactory
from pytest_django import DjangoDbBlocker, Settings

from aily.cache import Cached, store, unlink_matching
from aily.cache.keys import Keyspace

#: Bulk keys of a test. `make test` proves the way, `test_invalidating_blocks_nobody` the figure.
FEW_KEYS = 20_000


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


KEYSPACE = Keyspace[int]("test", version=1)
#: Processes look into Redis each time.
NO_COPIES = Keyspace[int]("test", version=1, local_seconds=0)


@pytest.fixture(autouse=True)
def _empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A cache with nothing in it. The database is only asked whether a transaction is open."""
    store.client().flushdb()
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(16)


def commands(name: str) -> int:
    """How often Redis was told `name`, by anybody."""
    stats: Any = store.client().info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])


# --- Reading ------------------------------------------------------------------------------------
def test_a_value_is_built_once_for_all_processes() -> None:
    table = Table({1: "one"})
    assert [table.process().get(1) for _ in range(5)] == ["one"] * 5
    assert table.queries == 1


def test_many_keys_cost_one_query_and_those_that_do_not_exist_are_left_out() -> None:
    table = Table({key: str(key) for key in range(100)})
    assert table.process().get_many(range(200)) == table.rows
    assert table.process().get_many(range(200)) == table.rows
    assert table.queries == 1


def test_what_another_version_of_the_code_stored_is_not_read() -> None:
    Table({1: "old"}).process(Keyspace("test", version=1)).get(1)
    table = Table({1: "new"})
    assert table.process(Keyspace("test", version=2)).get(1) == "new"


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 8 + b"\xff\xff", b"x" * 100])
def test_what_cannot_be_read_is_built_anew(data: bytes) -> None:
    store.client().set(KEYSPACE.key(1), data)
    assert Table({1: "one"}).process().get(1) == "one"


def test_a_failed_build_is_raised_and_hinders_nobody() -> None:
    def fail(keys: Collection[int]) -> dict[int, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cached(KEYSPACE, str, fail).get(1)
    started = time.monotonic()
    assert Table({1: "one"}).process().get(1) == "one"
    assert time.monotonic() - started < 2


# --- Penetration --------------------------------------------------------------------------------
def test_asking_again_for_what_does_not_exist_costs_nothing() -> None:
    table = Table()
    one, other = table.process(NO_COPIES), table.process(NO_COPIES)
    assert [process.get(7) for process in (one, other) * 20] == [None] * 40
    assert table.queries == 1


async def test_asking_for_many_things_that_do_not_exist_costs_few_queries() -> None:
    table = Table()
    process = table.process()
    found = await asyncio.gather(*(process.aget(key) for key in range(5_000)))
    assert set(found) == {None}
    assert table.queries <= 10


def test_a_hundred_thousand_lookups_of_things_that_do_not_exist_cost_under_1000_queries() -> None:
    table = Table({key: str(key) for key in range(1_000)})
    process = table.filtered()
    for start in range(1_000, 101_000, 1_000):
        assert process.get_many(range(start, start + 1_000)) == {}
    # One key in a hundred gets through, together with others of its moment.
    assert table.built.total() < 2_000
    assert table.queries < 1_000
    assert process.get_many(range(2_000)) == table.rows


def test_one_by_one_they_cost_a_query_for_each_hundred() -> None:
    table = Table({key: str(key) for key in range(1_000)})
    process = table.filtered()
    for key in range(1_000, 2_000):
        assert process.get(key) is None
    assert table.queries < 40


def test_a_filter_lets_through_what_was_made_a_moment_ago_in_any_process() -> None:
    table = Table({0: "0"})
    maker, reader = table.filtered(), table.filtered()
    for key in range(1, 20):
        assert reader.get(key) is None
        table.rows[key] = str(key)
        maker.added([key])
        unlink_matching("aily:cache:*")
        reader._local.clear()
        assert reader.get(key) == str(key)


def test_a_filter_that_lost_its_mark_is_not_trusted() -> None:
    table = Table({0: "0"})
    reader = table.filtered()
    assert reader.get(1) is None
    table.rows[1] = "1"
    store.client().flushdb()
    reader._local.clear()
    assert reader.get(1) == "1"


def test_what_is_made_is_found_at_once_though_it_was_missed_before() -> None:
    table = Table()
    process, other = table.process(), table.process(NO_COPIES)
    assert process.get(1) is None
    table.rows[1] = "one"
    process.invalidate([1])
    assert (process.get(1), other.get(1)) == ("one", "one")


# --- Stampede -----------------------------------------------------------------------------------
def test_no_key_is_built_twice_at_once_by_threads_and_processes(pool: ThreadPoolExecutor) -> None:
    table = Table({1: "one"})
    table.gate.clear()
    processes = [table.process() for _ in range(4)]
    together = Barrier(16)

    def read(number: int) -> str | None:
        together.wait()
        return processes[number % 4].get(1)

    reads = [pool.submit(read, number) for number in range(16)]
    assert table.is_reading.wait(10)
    table.gate.set()
    assert {read.result(10) for read in reads} == {"one"}
    assert table.built[1] == 1


async def test_ten_thousand_reads_of_a_cold_cache_build_each_key_once() -> None:
    table = Table({key: str(key) for key in range(10)})
    processes = [table.process() for _ in range(4)]
    reads = (processes[number % 4].aget(number % 10) for number in range(10_000))
    values = await asyncio.gather(*reads)
    assert values == [str(number % 10) for number in range(10_000)]
    assert set(table.built.values()) == {1}


def test_the_old_value_is_served_while_a_new_one_is_built(pool: ThreadPoolExecutor) -> None:
    keyspace = Keyspace[int]("test", version=1, seconds=0.05, local_seconds=0)
    # Ten minutes more in Redis than it is fresh: what the clock does meanwhile is no matter.
    table = Table({1: "old"})
    process = table.process(keyspace)
    process.get(1)
    store.client().persist(keyspace.key(1))
    while process._read([1])[1].is_fresh:
        pass
    table.rows[1] = "new"
    table.is_reading.clear()
    table.gate.clear()
    rebuilt = pool.submit(table.process(keyspace).get, 1)
    assert table.is_reading.wait(10)
    assert process.get(1) == "old"
    table.gate.set()
    assert rebuilt.result(10) == "new"
    assert table.built[1] == 2


def test_a_dead_builder_is_waited_for_no_longer_than_its_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.client().set(KEYSPACE.lock_key(1), "somebody who died", px=100)
    table = Table({1: "one"})
    assert table.process().get(1) == "one"
    store.client().set(KEYSPACE.lock_key(2), "somebody who never ends")
    monkeypatch.setattr("aily.cache.values.LOCK_SECONDS", 0.05)
    assert table.process().get(2) is None


# --- Invalidation -------------------------------------------------------------------------------
def test_a_change_is_seen_by_all_processes_once_it_is_committed(transactional_db: None) -> None:
    table = Table({1: "old"})
    here, there, late = (table.process() for _ in range(3))
    assert (here.get(1), there.get(1)) == ("old", "old")
    with transaction.atomic():
        table.rows[1] = "new"
        here.invalidate([1])
        assert late.get(1) == "new"  # what a transaction sees, and keeps to itself
        assert there.get(1) == "old"
    committed = time.monotonic()
    assert here.get(1) == "new"
    while there.get(1) != "new":
        assert time.monotonic() - committed < 1


def test_what_was_read_before_a_change_is_not_stored_after_it(pool: ThreadPoolExecutor) -> None:
    table = Table({1: "old"})
    table.gate.clear()
    slow = pool.submit(table.process(NO_COPIES).get, 1)
    assert table.is_reading.wait(10)
    table.rows[1] = "new"
    table.process().invalidate([1])
    table.gate.set()
    assert slow.result(10) == "old"
    assert table.process(NO_COPIES).get(1) == "new"


def test_a_rolled_back_change_forgets_nothing(transactional_db: None) -> None:
    table = Table({1: "one"})
    process = table.process()
    process.get(1)
    with transaction.atomic():
        process.invalidate([1])
        transaction.set_rollback(True)
    assert process.get(1) == "one"
    assert table.queries == 1


def fill(number: int) -> None:
    pipeline = store.client().pipeline(transaction=False)
    for start in range(0, number, 1_000):
        pipeline.mset(
            {f"aily:cache:bulk:1:{key}": b"x" * 64 for key in range(start, start + 1_000)}
        )
    pipeline.execute()


def test_a_keyspace_is_emptied_without_the_command_keys_and_nothing_else_is() -> None:
    fill(FEW_KEYS)
    table = Table({key: str(key) for key in range(50)})
    process = table.process()
    process.get_many(range(100))
    cache.set("a session", "stays")
    store.client().config_resetstat()
    process.invalidate_all()
    assert commands("keys") == 0
    assert commands("scan") > FEW_KEYS / store.BATCH_SIZE
    assert commands("unlink") > 0
    assert list(store.client().scan_iter("aily:*:{test:*", count=10_000)) == []
    assert process.get_many(range(100)) == table.rows
    assert table.queries == 2
    assert cache.get("a session") == "stays"
    store.client().config_resetstat()
    assert unlink_matching("aily:cache:bulk:*") == FEW_KEYS
    assert commands("keys") == 0


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """Nobody else gets Redis's processor in the middle of a command, where we may decide that."""
    pid = store.client().info("server")["process_id"]  # type: ignore[index]
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    yield
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


@pytest.mark.slow
def test_invalidating_among_a_million_keys_blocks_redis_for_5_ms_at_most(
    undisturbed: None,
) -> None:
    assert any(_is_quick_among_a_million_keys() for _ in range(5))


def _is_quick_among_a_million_keys() -> bool:
    """False also when another program, or the host, took the processor away for so long."""
    connection: Any = store.client()
    fill(1_000_000)
    connection.config_set("slowlog-log-slower-than", 5_000)
    connection.slowlog_reset()
    assert unlink_matching("aily:cache:none:*") == 0
    assert unlink_matching("aily:cache:bulk:*") == 1_000_000
    return not connection.slowlog_get()


# --- The cache is away --------------------------------------------------------------------------
@pytest.fixture
def silent_cache(settings: Settings) -> Iterator[None]:
    """A cache that takes connections and never answers: the slowest way to be away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        one = settings.CACHES["default"]
        settings.CACHES = {"default": {**one, "LOCATION": f"redis://127.0.0.1:{port}/2"}}
        yield
    for name in list(ConnectionFactory._pools):
        if str(port) in name:
            ConnectionFactory._pools.pop(name).disconnect()
    caches["default"].close()


def test_the_service_goes_on_without_the_cache_and_does_not_wait_for_it(silent_cache: None) -> None:
    table = Table({key: str(key) for key in range(100)})
    process = table.process()
    started = time.monotonic()
    assert [process.get(key) for key in range(100)] == list(table.rows.values())
    assert cache.get("a session") is None
    assert time.monotonic() - started < 4
    # Copies of this process still spare the database.
    assert table.queries == 100
    process.get_many(range(100))
    assert table.queries <= 101


def test_what_could_not_be_removed_while_the_cache_was_away_is_removed_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table({1: "old"})
    process = table.process(NO_COPIES)
    assert process.get(1) == "old"
    pool: Any = store.client().connection_pool
    monkeypatch.setattr(pool.circuit, "_is_open", True)
    monkeypatch.setattr(pool.circuit, "_next_probe", time.monotonic() + 60)
    table.rows[1] = "new"
    process.invalidate([1])
    assert process.get(1) == "new"
    monkeypatch.setattr(pool.circuit, "_is_open", False)
    assert table.process(NO_COPIES).get(1) == "new"
