"""What failing calls do to a pool: fewer at once, a pause, and providers that are left alone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import pytest
from pytest_django import Settings

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.events import WaitingFor
from chat.models import Lane
from chat.scheduler import Fault, Probe, breakers
from chat.scheduler.claims import ProbeKind
from chat.scheduler.keys import deployment_keys
from tests.chat.scheduler.conftest import OWN, claim, entries, own, place_of

CAP = 40


async def throttle(pool: str, task_id: str, retry_after: float | None = None) -> float:
    return await scheduler.report_failure(
        own(pool),
        task_id,
        owner_id=1,
        lane=1,
        cap=CAP,
        fault=Fault.THROTTLED,
        retry_after_seconds=retry_after,
    )


async def fail(pool: str, task_id: str, owner_id: int = 1, fault: Fault = Fault.FAILED) -> float:
    return await scheduler.report_failure(
        own(pool), task_id, owner_id=owner_id, lane=1, cap=CAP, fault=fault
    )


def is_open(pool: str) -> bool:
    return own(pool) in scheduler.blocks([own(pool)])[1]


async def probe(pool: str, task_id: str, kind: ProbeKind = "healthy") -> list[str]:
    return (await claim(pool, cap=CAP, probe=Probe(task_id, kind, OWN))).task_ids


def pass_time(key: str, *fields: str) -> None:
    """As if these moments had come."""
    for field in fields:
        if sync_redis().hexists(key, field):
            sync_redis().hset(key, field, "1")


def end_pause(pool: str) -> None:
    pass_time(deployment_keys(own(pool)).limit, "paused_until", "halved_until")


def end_open_time(pool: str) -> None:
    pass_time(deployment_keys(own(pool)).breaker, "open_until", "probe_until", "fresh_at")


async def fill(pool: str) -> list[str]:
    """The pool at its cap, with many more tasks waiting."""
    scheduler.enqueue(pool, entries(1, 1_000))
    running = (await claim(pool, cap=CAP)).task_ids
    assert len(running) == CAP
    return running


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
        own(pool), "task", owner_id=1, lane=1, cap=cap, fault=Fault.THROTTLED
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
    assert not sync_redis().exists(deployment_keys(own(pool)).limit), (
        "grown back, nothing is left to remember"
    )


async def test_failures_do_not_raise_the_limit(pool: str) -> None:
    running = await fill(pool)
    await throttle(pool, running[0])
    end_pause(pool)
    for _ in range(5):
        running = (await claim(pool, cap=CAP, released=running, succeeded=0)).task_ids
    assert len(running) == CAP // 2


@pytest.mark.parametrize("asked", [1e12, 1_789_000_000, math.inf, -5.0, math.nan])
async def test_no_retry_after_is_obeyed_for_longer_than_the_setting_says(
    pool: str, asked: float, settings: Settings
) -> None:
    settings.LLM_RETRY_AFTER_MAX_SECONDS = 7
    wait = await throttle(pool, (await fill(pool))[0], retry_after=asked)
    assert 0.9 < wait <= 7
    key = deployment_keys(own(pool)).limit
    assert 0 < cast("int", sync_redis().ttl(key)) <= 3607, "no pause outlives its reason"


async def test_a_pause_from_before_the_setting_was_lowered_is_cut_short(pool: str) -> None:
    """As an older version left them, without an end."""
    await fill(pool)
    key = deployment_keys(own(pool)).limit
    sync_redis().hset(key, mapping={"limit": 1, "paused_until": 1_789_000_000 + 10**9})
    await claim(pool, cap=CAP)
    assert scheduler.blocks([own(pool)])[0][own(pool)].seconds_left <= 300
    assert cast("int", sync_redis().ttl(key)) > 0


async def test_a_lifted_pause_lets_tasks_go_at_once_and_wakes_the_workers(pool: str) -> None:
    running = await fill(pool)
    await throttle(pool, "1.0", retry_after=60)
    place = place_of(pool, f"1.{CAP}")
    assert place is not None
    assert place.waiting_for is not None
    assert place.waiting_for.kind == "pause"
    assert 30 < (place.eta_seconds or 0) <= 60
    client: Any = sync_redis()
    with client.pubsub() as pubsub:
        pubsub.subscribe(scheduler.DOORBELL)
        pubsub.get_message(timeout=20)
        assert scheduler.lift_pause(own(pool))
        assert pubsub.get_message(timeout=20)["data"] == pool.encode()
    assert not scheduler.lift_pause(own(pool))
    place = place_of(pool, f"1.{CAP}")
    assert place is not None
    assert place.waiting_for is None
    assert (await claim(pool, cap=CAP, released=running)).task_ids


# --- The breaker --------------------------------------------------------------------------------
async def open_breaker(pool: str) -> None:
    for number in range(breakers.BREAKER_FAILURES):
        await fail(pool, f"task-{number}")


async def test_a_breaker_opens_when_many_different_tasks_failed(pool: str) -> None:
    running = await fill(pool)
    for number in range(breakers.BREAKER_FAILURES - 1):
        assert await fail(pool, f"task-{number}") == 0
    assert await fail(pool, "task-0") == 0, "one that fails again and again counts once"
    assert not is_open(pool)
    wait = await fail(pool, "task-last")
    assert 0 < wait <= breakers.BREAKER_SECONDS
    assert is_open(pool)
    assert (await claim(pool, cap=CAP, released=running)).task_ids == []


async def test_half_as_many_are_enough_where_there_is_no_connection(pool: str) -> None:
    for number in range(breakers.BREAKER_UNREACHABLE - 1):
        await fail(pool, f"task-{number}", fault=Fault.UNREACHABLE)
    assert not is_open(pool)
    await fail(pool, "task-last", fault=Fault.UNREACHABLE)
    assert is_open(pool)


async def test_one_owners_failures_do_not_open_it_while_another_is_served(pool: str) -> None:
    await claim(pool, cap=CAP, succeeded=1, owners={2})
    for number in range(3 * breakers.BREAKER_FAILURES):
        await fail(pool, f"task-{number}", owner_id=1)
    assert not is_open(pool)
    await fail(pool, "of-another", owner_id=2)
    assert is_open(pool), "now two owners say so"


async def test_an_owner_alone_opens_it_whatever_was_served_to_them_before(pool: str) -> None:
    await claim(pool, cap=CAP, succeeded=1, owners={1})
    await open_breaker(pool)
    assert is_open(pool)


async def test_a_share_of_successes_keeps_it_closed_and_half_of_them_begins_anew(
    pool: str,
) -> None:
    for number in range(breakers.BREAKER_FAILURES - 1):
        await fail(pool, f"task-{number}")
    await claim(pool, cap=CAP, succeeded=3, owners={1})
    assert await fail(pool, "task-19") == 0, "three of 23 succeeded"
    await claim(pool, cap=CAP, succeeded=17, owners={1})
    for number in range(breakers.BREAKER_FAILURES - 1):
        assert await fail(pool, f"later-{number}") == 0
    assert await fail(pool, "later-last") > 0


async def test_a_provider_that_hardly_ever_answers_counts_as_failing(pool: str) -> None:
    await fail(pool, "first", owner_id=2)
    await claim(pool, cap=CAP, want=0, succeeded=1, owners={1})
    # That was half of two. From now on one of thirty succeeds.
    for number in range(30):
        await fail(pool, f"task-{number}", owner_id=number % 3)
        if number == 15:
            await claim(pool, cap=CAP, want=0, succeeded=1, owners={1})
    assert is_open(pool)


async def test_all_that_is_kept_of_failures_runs_out(pool: str) -> None:
    await claim(pool, cap=CAP, succeeded=1, owners={3})
    await fail(pool, "unreachable", fault=Fault.UNREACHABLE)
    await claim(pool, cap=CAP, want=0)
    await open_breaker(pool)
    own_keys = deployment_keys(own(pool))
    keys = [own_keys.breaker, own_keys.failures, own_keys.unreachable, own_keys.served]
    keys += [own_keys.failing_owners, own_keys.failing_lanes]
    kept = [key for key in keys if sync_redis().exists(key)]
    assert len(kept) >= 4
    assert all(cast("int", sync_redis().ttl(key)) > 0 for key in kept)


async def test_a_breaker_stops_its_pool_and_places_say_so(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 3))
    await open_breaker(pool)
    assert (await claim(pool, cap=CAP)).task_ids == []
    place = place_of(pool, "1.0")
    assert place is not None
    assert place.waiting_for is not None
    assert place.waiting_for.kind == "breaker"
    assert 0 < (place.eta_seconds or 0) <= breakers.BREAKER_SECONDS


async def test_a_half_open_breaker_lets_one_probe_through(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    assert await probe(pool, "1.0") == []
    end_open_time(pool)
    assert (await claim(pool, cap=CAP)).may_probe == {OWN: 2}
    assert await probe(pool, "1.7", "failed") == ["1.7"]
    assert (await claim(pool, "other", cap=CAP)).may_probe == {}
    assert await probe(pool, "1.0") == []
    place = place_of(pool, "1.0")
    assert place is not None
    assert (place.eta_seconds, place.waiting_for) == (None, WaitingFor("breaker", None))


async def test_a_task_of_an_owner_without_failures_may_probe_although_it_is_open(
    pool: str,
) -> None:
    scheduler.enqueue(pool, entries(1, 5))
    scheduler.enqueue(pool, entries(2, 5))
    await open_breaker(pool)
    assert (await claim(pool, cap=CAP)).may_probe == {OWN: 1}
    asked = [(1, Lane.NORMAL), (1, Lane.INTERACTIVE), (2, Lane.NORMAL)]
    assert await scheduler.failing_lanes(own(pool), asked) == {(1, Lane.NORMAL)}
    assert await probe(pool, "1.0", "healthy") == []
    assert await probe(pool, "2.0", "fresh") == ["2.0"]
    await fail(pool, "2.0", owner_id=2)
    assert (await claim(pool, cap=CAP, released=["2.0"])).may_probe == {}, "not one after another"


async def test_a_slow_probe_keeps_no_owner_without_failures_waiting(pool: str) -> None:
    for owner in (1, 2, 3):
        scheduler.enqueue(pool, entries(owner, 5))
    await open_breaker(pool)
    assert await probe(pool, "2.0", "fresh") == ["2.0"]
    assert await probe(pool, "3.0", "fresh") == []
    pass_time(deployment_keys(own(pool)).breaker, "fresh_at", "open_until")
    assert await probe(pool, "1.0", "healthy") == [], "the slow one may tell"
    assert await probe(pool, "3.0", "fresh") == ["3.0"]


async def test_a_probe_that_succeeds_closes_the_breaker(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    end_open_time(pool)
    probes = await probe(pool, "1.0")
    assert len((await claim(pool, cap=CAP, released=probes, succeeded=1)).task_ids) == CAP
    assert not is_open(pool)


async def test_a_probe_that_ends_without_telling_makes_way_for_the_next(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    end_open_time(pool)
    probes = await probe(pool, "1.0")
    assert (await claim(pool, cap=CAP, released=["another"])).may_probe == {}
    assert (await claim(pool, cap=CAP, released=probes)).may_probe == {OWN: 2}


async def test_each_healthy_probe_that_fails_doubles_the_open_time_up_to_a_maximum(
    pool: str,
) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    waits = []
    for number in range(8):
        end_open_time(pool)
        (task_id,) = await probe(pool, f"1.{number}")
        waits.append(await fail(pool, task_id))
        assert (await claim(pool, cap=CAP, released=[task_id])).task_ids == []
    assert waits == pytest.approx([10, 20, 40, 80, 160, 300, 300, 300], abs=1)


async def test_a_probe_that_had_failed_before_says_nothing_of_the_provider(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 50))
    await open_breaker(pool)
    waits = []
    for number in range(4):
        end_open_time(pool)
        (task_id,) = await probe(pool, f"1.{number}", "failed")
        waits.append(await fail(pool, task_id))
    assert waits == pytest.approx([5] * 4, abs=1)


async def test_calls_that_began_before_it_opened_do_not_open_it_further(pool: str) -> None:
    await open_breaker(pool)
    late = [await fail(pool, f"late-{number}") for number in range(20)]
    assert max(late) <= breakers.BREAKER_SECONDS


async def test_a_breaker_that_is_closed_by_hand_forgets_what_failed(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 3))
    await open_breaker(pool)
    await claim(pool, cap=CAP)
    assert scheduler.close_breaker(own(pool))
    assert not scheduler.close_breaker(own(pool))
    place = place_of(pool, "1.0")
    assert place is not None
    assert (place.eta_seconds, place.waiting_for) == (0.0, None)
    assert await fail(pool, "task-last") == 0
    assert len((await claim(pool, cap=CAP)).task_ids) == 3
