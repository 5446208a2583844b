"""The cache layer, on its own: what reaches the database, and what becomes of a change."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.db import transaction
from django_redis.pool import ConnectionFactory
from pytest_django import Settings

from aily.cache import Cached, store
from aily.cache.keys import Keyspace
from tests.aily.cache.tables import KEYSPACE, NO_COPIES, Table
from tests.waiting import wait_until


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(16)


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


def test_a_failed_build_is_raised_and_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aily.cache.values.LOCK_SECONDS", 60)

    def fail(keys: Collection[int]) -> dict[int, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cached(KEYSPACE, str, fail).get(1)
    started = time.monotonic()
    assert Table({1: "one"}).process().get(1) == "one"
    assert time.monotonic() - started < 20


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
    wait_until(lambda: not process._read([1])[1].is_fresh, "a value that is not fresh")
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
    assert here.get(1) == "new"
    wait_until(lambda: there.get(1) == "new", "the new value")


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


# --- The cache is away --------------------------------------------------------------------------
@pytest.fixture
def silent_cache(settings: Settings) -> Iterator[None]:
    """A cache that takes connections and never answers: the slowest way to be away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        one = settings.CACHES["default"]
        options = {**one["OPTIONS"], "SOCKET_TIMEOUT": 1}
        location = f"redis://127.0.0.1:{port}/2"
        settings.CACHES = {"default": {**one, "LOCATION": location, "OPTIONS": options}}
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
    assert time.monotonic() - started < 20
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
