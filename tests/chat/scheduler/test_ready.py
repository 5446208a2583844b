"""The ready set and the slots: which task comes next, and never more at once than the cap."""

from __future__ import annotations

import asyncio
from typing import Any

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Lane
from chat.scheduler import Entry, ready
from chat.scheduler.keys import deployment_keys, pool_keys
from tests.chat.scheduler.conftest import LEASE_SECONDS, claim, entries, own, place_of


async def test_interactive_goes_before_normal_and_normal_before_batch(pool: str) -> None:
    for lane in (Lane.BATCH, Lane.NORMAL, Lane.INTERACTIVE):
        scheduler.enqueue(pool, entries(1, 3, lane, lane.name))
    order = [task_id[0] for task_id in (await claim(pool)).task_ids]
    assert order == ["I"] * 3 + ["N"] * 3 + ["B"] * 3


async def test_within_an_owner_the_oldest_goes_first(pool: str) -> None:
    mine = entries(1, 500)
    for start in range(0, 500, 100):
        scheduler.enqueue(pool, mine[start : start + 100])
    claimed = await claim(pool)
    assert claimed.task_ids == [entry.task_id for entry in mine]
    assert claimed.left == 0


async def test_ten_tasks_do_not_wait_behind_a_thousand_of_another_owner(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 1_000))
    served = (await claim(pool, want=200)).task_ids
    # The other one comes late, when a fifth of them are running: it counts from now on.
    scheduler.enqueue(pool, entries(2, 10))
    served = (await claim(pool, want=25)).task_ids
    assert sum(task_id.startswith("2.") for task_id in served) == 10


async def test_a_share_twice_as_large_is_served_twice_as_often(pool: str) -> None:
    light = entries(1, 300)
    heavy = [Entry(f"2.{number}", Lane.NORMAL, 2, weight=2.0) for number in range(300)]
    scheduler.enqueue(pool, light)
    scheduler.enqueue(pool, heavy)
    served = (await claim(pool, want=150)).task_ids
    assert 98 <= sum(task_id.startswith("2.") for task_id in served) <= 102


async def test_places_count_from_one_and_move_up(pool: str) -> None:
    places, must_ring = scheduler.enqueue(pool, entries(1, 3))
    assert ([place.position for place in places], must_ring) == ([1, 2, 3], True)
    _, must_ring = scheduler.enqueue(pool, entries(1, 1, name="more"))
    assert not must_ring, "one ring is enough until somebody has looked"
    await claim(pool, want=2)
    place = place_of(pool, "1.2")
    assert place is not None
    assert place.position == 1
    assert place_of(pool, "1.0") is None
    _, must_ring = scheduler.enqueue(pool, entries(3, 1))
    assert must_ring, "it was answered, so the next news has to ring again"


async def test_where_a_worker_hears_the_ring_one_message_a_second_is_enough(pool: str) -> None:
    client: Any = sync_redis()
    with client.pubsub() as pubsub:
        pubsub.subscribe(scheduler.DOORBELL)
        pubsub.get_message(timeout=20)
        rings = []
        for number in range(3):
            _, must_ring = scheduler.enqueue(pool, entries(1, 1, name=str(number)))
            rings.append(must_ring)
            await claim(pool)
        heard = [pubsub.get_message(timeout=20) for _ in rings]
    assert rings == [True, False, False]
    assert [message and message["data"] for message in heard] == [pool.encode()] * 3


async def test_a_task_that_is_ready_already_keeps_its_place(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 3))
    places, _ = scheduler.enqueue(pool, entries(1, 1))
    assert places[0].position == 1
    assert (await claim(pool)).task_ids == ["1.0", "1.1", "1.2"]


async def test_the_eta_is_the_position_over_the_rate_at_which_calls_end(pool: str) -> None:
    places, _ = scheduler.enqueue(pool, entries(1, 6))
    assert {place.eta_seconds for place in places} == {0.0}
    await claim(pool, cap=4, want=4, mean_seconds=8.0)
    place = place_of(pool, "1.5")
    assert place is not None
    assert (place.position, place.eta_seconds) == (2, 4.0)


async def test_removed_tasks_are_not_claimed_and_missing_ones_are_found(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 3))
    scheduler.remove(pool, ["1.1", "1.7"])
    assert scheduler.missing(pool, ["1.0", "1.1", "1.2", "1.7"]) == ["1.1", "1.7"]
    assert (await claim(pool)).task_ids == ["1.0", "1.2"]


async def test_claims_at_once_never_exceed_the_cap_nor_take_a_task_twice(pool: str) -> None:
    cap, running, taken, most = 7, set[str](), list[str](), 0
    scheduler.enqueue(pool, entries(1, 400))

    async def work(worker: str) -> None:
        nonlocal most
        mine: list[str] = []
        while len(taken) < 400:
            running.difference_update(mine)
            claimed = await claim(pool, worker, cap=cap, want=3, released=mine)
            mine = claimed.task_ids
            running.update(mine)
            taken.extend(mine)
            most = max(most, len(running))
            await asyncio.sleep(0)
        await claim(pool, worker, cap=cap, want=0, released=mine)

    async with asyncio.timeout(20):
        await asyncio.gather(*(work(str(number)) for number in range(5)))
    # How close to the cap the turns of the loop come is chance; that it is never passed is not.
    assert 1 < most <= cap
    assert sorted(taken) == sorted(entry.task_id for entry in entries(1, 400))


async def test_a_claim_gives_back_and_takes_in_one_step(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 5))
    first = await claim(pool, cap=2)
    assert (len(first.task_ids), first.left) == (2, 3)
    assert (await claim(pool, "other", cap=2)).task_ids == []
    second = await claim(pool, cap=2, released=first.task_ids[:1])
    assert len(second.task_ids) == 1
    assert (await claim(pool, "other", cap=2)).task_ids == []


async def test_a_slot_given_back_twice_frees_one(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 5))
    first = await claim(pool, cap=2)
    released = [first.task_ids[0]] * 2
    assert len((await claim(pool, cap=2, released=released)).task_ids) == 1


async def test_the_slots_of_a_silent_worker_run_out(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 4))
    assert len((await claim(pool, "dead", cap=2)).task_ids) == 2
    assert (await claim(pool, cap=2)).task_ids == []
    # As if its lease time had passed since it last claimed.
    sync_redis().zadd(pool_keys(pool).workers, {f"{pool}-dead": 1})
    assert len((await claim(pool, cap=2)).task_ids) == 2


async def test_the_slots_of_a_worker_declared_dead_count_no_longer(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 4))
    await claim(pool, "dead", cap=2)
    scheduler.drop_worker(f"{pool}-dead", [own(pool)])
    assert len((await claim(pool, cap=2)).task_ids) == 2


async def test_slots_that_redis_lost_are_restored(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 4))
    mine = (await claim(pool, cap=2)).task_ids
    keys = deployment_keys(own(pool))
    sync_redis().delete(keys.slots(f"{pool}-w"), keys.in_use)
    calls = dict.fromkeys(mine, False)
    await scheduler.restore_slots(own(pool), f"{pool}-w", calls, LEASE_SECONDS)
    assert (await claim(pool, "other", cap=2)).task_ids == []


async def test_an_empty_pool_forgets_the_virtual_times(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 10))
    await claim(pool)
    assert not sync_redis().exists(pool_keys(pool).virtual_times)
    assert ready.LANE_WIDTH * 3 < 2**53, "scores are doubles"
