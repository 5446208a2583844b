"""Slots are counted for each worker, whatever becomes of the worker or of Redis."""

from __future__ import annotations

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.scheduler.keys import deployment_keys, pool_keys
from tests.chat.scheduler.conftest import LEASE_SECONDS, claim, entries, own


def counts(pool: str) -> dict[str, int]:
    """How many slots each worker has, as claims count them."""
    found: dict[bytes, bytes] = sync_redis().hgetall(deployment_keys(own(pool)).in_use)  # type: ignore[assignment]
    return {name.decode().removeprefix(f"{pool}-"): int(count) for name, count in found.items()}


def fall_silent(pool: str, worker: str) -> None:
    """As if the worker's time had passed since it last claimed."""
    sync_redis().zadd(pool_keys(pool).workers, {f"{pool}-{worker}": 1})


async def test_each_claim_counts_what_it_took_and_gave_back(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 9))
    taken = (await claim(pool, "one", want=3)).task_ids
    await claim(pool, "other", want=2)
    assert counts(pool) == {"one": 3, "other": 2}
    await claim(pool, "one", want=1, released=taken[:2])
    assert counts(pool) == {"one": 2, "other": 2}
    await claim(pool, "other", want=0, released=["1.3", "1.4"])
    assert counts(pool) == {"one": 2}


async def test_a_task_that_is_claimed_twice_by_a_worker_has_one_slot(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 1))
    assert (await claim(pool)).task_ids == ["1.0"]
    scheduler.enqueue(pool, entries(1, 1))
    assert (await claim(pool)).task_ids == ["1.0"]
    assert counts(pool) == {"w": 1}


async def test_the_count_of_a_dead_worker_is_dropped_by_the_next_claim(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 4))
    await claim(pool, "dead", cap=2)
    fall_silent(pool, "dead")
    assert len((await claim(pool, cap=2)).task_ids) == 2
    assert counts(pool) == {"w": 2}


async def test_a_worker_that_was_only_slow_is_counted_again(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 4))
    await claim(pool, "slow", cap=3, want=2)
    fall_silent(pool, "slow")
    await claim(pool, cap=3, want=0)
    await scheduler.renew_worker(f"{pool}-slow", [own(pool)], LEASE_SECONDS)
    assert counts(pool) == {"slow": 2}
    assert len((await claim(pool, cap=3)).task_ids) == 1


async def test_a_worker_is_renewed_in_all_of_its_pools(pool: str) -> None:
    other = f"{pool}-other"
    await scheduler.renew_worker(f"{pool}-w", [own(pool), own(other)], LEASE_SECONDS)
    for name in (pool, other):
        assert sync_redis().zscore(pool_keys(name).workers, f"{pool}-w")
    scheduler.drop_worker(f"{pool}-w", [own(pool), own(other)])
    for name in (pool, other):
        assert not sync_redis().exists(pool_keys(name).workers)


async def test_nothing_is_claimed_of_an_unknown_pool_for_a_while(pool: str) -> None:
    """As after Redis has lost everything, the slots of running calls included."""
    scheduler.enqueue(pool, entries(1, 1))
    sync_redis().delete(pool_keys(pool).known)
    claimed = await claim(pool)
    assert (claimed.task_ids, claimed.is_counting) == ([], True)
    sync_redis().delete(pool_keys(pool).counting)
    assert (await claim(pool)).task_ids == ["1.0"]
