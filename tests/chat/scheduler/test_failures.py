"""What failing calls do to a pool: fewer at once, a pause, and providers that are left alone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aily.redis import sync_redis
from chat import scheduler
from chat.scheduler import ready
from tests.chat.scheduler.conftest import claim, entries

CAP = 40


def provider_of(pool: str) -> str:
    return f"provider-of-{pool}"


async def throttle(pool: str, task_id: str, retry_after: float | None = None) -> float:
    return await scheduler.report_failure(
        pool,
        provider_of(pool),
        task_id,
        cap=CAP,
        is_throttled=True,
        retry_after_seconds=retry_after,
    )


async def fail(pool: str, task_id: str) -> float:
    return await scheduler.report_failure(
        pool,
        provider_of(pool),
        task_id,
        cap=CAP,
        is_throttled=False,
        retry_after_seconds=None,
    )


def pass_time(key: str, *fields: str) -> None:
    """As if these moments had come."""
    for field in fields:
        if sync_redis().hexists(key, field):
            sync_redis().hset(key, field, "1")


def end_pause(pool: str) -> None:
    pass_time(f"aily:limit:{pool}", "paused_until", "halved_until")


def end_open_time(pool: str) -> None:
    pass_time(f"aily:breaker:{provider_of(pool)}", "open_until", "probe_until")


async def fill(pool: str) -> list[str]:
    """The pool at its cap, with many more tasks waiting."""
    scheduler.enqueue(pool, entries(1, 1_000))
    running = (await claim(pool, cap=CAP)).task_ids
    assert len(running) == CAP
    return running


async def open_breaker(pool: str) -> None:
    for number in range(ready.BREAKER_FAILURES):
        await fail(pool, f"task-{number}")


# --- 429 ----------------------------------------------------------------------------------------
async def test_a_burst_of_429_halves_the_limit_once(pool: str) -> None:
    running = await fill(pool)
    for task_id in running[:10]:
        await throttle(pool, task_id)
    end_pause(pool)
    # All calls end: as many as half of the cap may follow.
    assert len((await claim(pool, cap=CAP, released=running)).task_ids) == CAP // 2


async def test_the_next_burst_halves_it_again_down_to_one(pool: str) -> None:
    running = await fill(pool)
    left = []
    for _ in range(7):
        await throttle(pool, running[0])
        end_pause(pool)
        running = (await claim(pool, cap=CAP, released=running)).task_ids
        left.append(len(running))
    assert left == [20, 10, 5, 2, 1, 1, 1]


async def test_a_429_on_a_quiet_pool_leaves_half_of_the_cap(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 1))
    (only,) = (await claim(pool, cap=CAP)).task_ids
    await throttle(pool, only)
    end_pause(pool)
    scheduler.enqueue(pool, entries(2, 1_000))
    assert len((await claim(pool, cap=CAP, released=[only])).task_ids) == CAP // 2


async def test_half_of_a_large_cap_is_back_after_a_thousand_successes(pool: str) -> None:
    cap = 10_000
    await scheduler.report_failure(
        pool, provider_of(pool), "task", cap=cap, is_throttled=True, retry_after_seconds=None
    )
    end_pause(pool)
    await claim(pool, cap=cap, want=0, succeeded=1_000)
    scheduler.enqueue(pool, entries(1, cap))
    assert len((await claim(pool, cap=cap, want=cap)).task_ids) == cap


async def test_a_pool_pauses_for_retry_after_whatever_ends_meanwhile(pool: str) -> None:
    running = await fill(pool)
    wait = await throttle(pool, running[0], retry_after=30)
    assert 29 < wait <= 30
    assert (await claim(pool, cap=CAP, released=running, succeeded=30)).task_ids == []
    # A shorter Retry-After does not end the pause sooner.
    assert await throttle(pool, running[1], retry_after=2) > 25
    end_pause(pool)
    assert (await claim(pool, cap=CAP)).task_ids


async def test_a_429_without_retry_after_pauses_for_a_second(pool: str) -> None:
    assert 0.9 < await throttle(pool, (await fill(pool))[0]) <= 1


async def test_the_limit_grows_by_one_for_each_window_that_succeeded_and_never_over_the_cap(
    pool: str,
) -> None:
    running = await fill(pool)
    await throttle(pool, running[0])
    end_pause(pool)
    running = (await claim(pool, cap=CAP, released=running)).task_ids
    sizes = [len(running)]
    for _ in range(CAP):
        scheduler.enqueue(pool, entries(2, 100, name=f"more{len(sizes)}."))
        succeeded = len(running)
        running = (await claim(pool, cap=CAP, released=running, succeeded=succeeded)).task_ids
        sizes.append(len(running))
    assert all(after - before <= 1 for before, after in pairwise(sizes))
    assert (sizes[0], max(sizes), sizes[-1]) == (CAP // 2, CAP, CAP)
    assert not sync_redis().exists(f"aily:limit:{pool}"), "grown back, nothing is left to remember"


async def test_failures_do_not_raise_the_limit(pool: str) -> None:
    running = await fill(pool)
    await throttle(pool, running[0])
    end_pause(pool)
    for _ in range(5):
        running = (await claim(pool, cap=CAP, released=running, succeeded=0)).task_ids
    assert len(running) == CAP // 2


# --- The breaker --------------------------------------------------------------------------------
async def test_a_breaker_opens_when_many_different_tasks_failed_in_a_row(pool: str) -> None:
    running = await fill(pool)
    for number in range(ready.BREAKER_FAILURES - 1):
        assert await fail(pool, f"task-{number}") == 0
    assert await fail(pool, "task-0") == 0, "one that fails again and again counts once"
    assert provider_of(pool) not in scheduler.open_breakers()
    wait = await fail(pool, "task-last")
    assert 0 < wait <= ready.BREAKER_SECONDS
    assert provider_of(pool) in scheduler.open_breakers()
    assert (await claim(pool, cap=CAP, released=running)).task_ids == []


async def test_a_success_in_between_starts_the_count_anew(pool: str) -> None:
    for number in range(ready.BREAKER_FAILURES - 1):
        await fail(pool, f"task-{number}")
    await claim(pool, cap=CAP, succeeded=1)
    assert await fail(pool, "task-last") == 0


async def test_a_breaker_is_the_providers_and_stops_all_its_pools(pool: str) -> None:
    other = f"{pool}-other"
    scheduler.enqueue(other, entries(1, 3))
    await open_breaker(pool)
    claimed = await scheduler.claim(
        other, f"{pool}-w", cap=CAP, want=3, lease_seconds=60, provider=provider_of(pool)
    )
    assert claimed.task_ids == []


async def test_a_half_open_breaker_lets_one_probe_through(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    assert (await claim(pool, cap=CAP)).task_ids == []
    end_open_time(pool)
    assert len((await claim(pool, cap=CAP)).task_ids) == 1
    assert (await claim(pool, "other", cap=CAP)).task_ids == []


async def test_a_probe_that_succeeds_closes_the_breaker(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    end_open_time(pool)
    probe = (await claim(pool, cap=CAP)).task_ids
    assert len((await claim(pool, cap=CAP, released=probe, succeeded=1)).task_ids) == CAP
    assert provider_of(pool) not in scheduler.open_breakers()


async def test_a_probe_that_ends_without_telling_makes_way_for_the_next(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    end_open_time(pool)
    probe = (await claim(pool, cap=CAP)).task_ids
    following = (await claim(pool, cap=CAP, released=probe)).task_ids
    assert len(following) == 1
    assert (await claim(pool, cap=CAP, released=["another"])).task_ids == []
    await claim(pool, cap=CAP, want=0, released=following)


async def test_each_probe_that_fails_doubles_the_open_time_up_to_a_maximum(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    waits = []
    for _ in range(8):
        end_open_time(pool)
        (probe,) = (await claim(pool, cap=CAP)).task_ids
        waits.append(await fail(pool, probe))
        assert (await claim(pool, cap=CAP, released=[probe])).task_ids == []
    assert waits == pytest.approx([10, 20, 40, 80, 160, 300, 300, 300], abs=1)


async def test_calls_that_began_before_it_opened_do_not_open_it_further(pool: str) -> None:
    await open_breaker(pool)
    late = [await fail(pool, f"late-{number}") for number in range(20)]
    assert max(late) <= ready.BREAKER_SECONDS
