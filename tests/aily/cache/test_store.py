"""Removing keys from the cache's Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from aily.cache import store, unlink_matching
from tests.aily.cache.tables import Table


def commands(name: str) -> int:
    """How often Redis has run the command `name`."""
    stats: Any = store.client().info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])


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


#: Bulk keys of a test. `make test` proves the way, `test_invalidating_blocks_nobody` the figure.
FEW_KEYS = 20_000


def fill(number: int) -> None:
    pipeline = store.client().pipeline(transaction=False)
    for start in range(0, number, 1_000):
        pipeline.mset(
            {f"aily:cache:bulk:1:{key}": b"x" * 64 for key in range(start, start + 1_000)}
        )
    pipeline.execute()


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
