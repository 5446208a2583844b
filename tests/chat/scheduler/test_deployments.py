"""One ready set, several deployments: which of them a task goes to."""

from __future__ import annotations

from collections import Counter

import pytest

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Lane
from chat.scheduler import Claim, DeploymentClaim, Entry, Fault, breakers
from chat.scheduler.keys import deployment_keys
from tests.chat.scheduler.conftest import claim_for, entries, place_of

CAPS = {"0.1": 50, "1.2": 20, "2.3": 5}


def three(**changes: DeploymentClaim) -> list[DeploymentClaim]:
    return [changes.get(name) or DeploymentClaim(name, cap) for name, cap in CAPS.items()]


def sizes(claimed: Claim) -> dict[str, int]:
    return {name: len(taken.task_ids) for name, taken in claimed.taken.items()}


async def fail(pool: str, name: str, task_id: str, fault: Fault) -> None:
    await scheduler.report_failure(
        (pool, name),
        task_id,
        owner_id=1,
        lane=1,
        cap=CAPS[name],
        fault=fault,
        retry_after_seconds=60,
        is_alone=False,
    )


async def open_breaker(pool: str, name: str) -> None:
    for number in range(breakers.BREAKER_UNREACHABLE):
        await fail(pool, name, f"failing-{number}", Fault.UNREACHABLE)


async def test_all_caps_are_filled_and_none_is_exceeded(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    assert sizes(await claim_for(pool, three())) == CAPS
    assert (await claim_for(pool, three(), "other")).task_ids == []


async def test_a_task_has_one_deployment_and_the_first_in_line_go_first(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    claimed = await claim_for(pool, three(), want=30)
    assert sorted(claimed.task_ids) == sorted(f"1.{number}" for number in range(30))


async def test_what_runs_is_spread_by_the_share_of_the_caps_in_use(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    found: Counter[str] = Counter()
    for number in range(15):
        found += Counter(sizes(await claim_for(pool, three(), f"w{number}", want=1)))
    assert found == {"0.1": 10, "1.2": 4, "2.3": 1}


@pytest.mark.parametrize(("weights", "expected"), [((3, 1), (30, 10)), ((1, 1), (20, 20))])
async def test_weights_decide_how_full_each_is(
    pool: str, weights: tuple[int, int], expected: tuple[int, int]
) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    both = [DeploymentClaim(f"{n}.1", 100, weight) for n, weight in enumerate(weights)]
    assert tuple(sizes(await claim_for(pool, both, want=40)).values()) == expected


async def test_a_weight_of_zero_takes_nothing_and_gives_its_slots_back(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    before = await claim_for(pool, three())
    ended = before.taken["0.1"].task_ids
    out_of_service = DeploymentClaim("0.1", 50, 0, released=ended)
    after = await claim_for(pool, three(**{"0.1": out_of_service}))
    assert after.task_ids == []
    loads = scheduler.deployment_loads([(pool, name) for name in CAPS])
    assert [load.in_use for load in loads.values()] == [0, 20, 5]


async def test_slots_that_are_given_back_are_filled_where_they_are(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    before = await claim_for(pool, three())
    ended = before.taken["1.2"].task_ids[:7]
    after = await claim_for(pool, three(**{"1.2": DeploymentClaim("1.2", 20, released=ended)}))
    assert sizes(after) == {"0.1": 0, "1.2": 7, "2.3": 0}


# --- Health ---------------------------------------------------------------------------------------
async def test_a_429_pauses_one_deployment_alone(pool: str) -> None:
    await fail(pool, "0.1", "throttled", Fault.THROTTLED)
    scheduler.enqueue(pool, entries(1, 200))
    claimed = await claim_for(pool, three())
    assert sizes(claimed) == {"0.1": 0, "1.2": 20, "2.3": 5}
    assert [taken.is_usable for taken in claimed.taken.values()] == [False, True, True]
    place = place_of(pool, "1.199")
    assert place is not None
    assert place.waiting_for is None, "others take tasks"


async def test_a_breaker_leaves_one_deployment_alone(pool: str) -> None:
    await open_breaker(pool, "2.3")
    scheduler.enqueue(pool, entries(1, 200))
    assert sizes(await claim_for(pool, three())) == {"0.1": 50, "1.2": 20, "2.3": 0}


async def test_a_pool_is_blocked_while_all_of_its_deployments_are(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 5))
    for name in CAPS:
        await fail(pool, name, "throttled", Fault.THROTTLED)
    assert (await claim_for(pool, three())).task_ids == []
    place = place_of(pool, "1.0")
    assert place is not None
    assert place.waiting_for is not None
    assert place.waiting_for.kind == "pause"


async def test_one_that_fails_is_called_less_before_its_breaker_opens(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200))
    await fail(pool, "0.1", "failing", Fault.UNREACHABLE)
    both = [DeploymentClaim("0.1", 50), DeploymentClaim("1.2", 20)]
    assert sizes(await claim_for(pool, both, want=20)) == {"0.1": 2, "1.2": 18}


async def test_the_next_task_finds_out_by_its_turn_whether_one_is_back(pool: str) -> None:
    await open_breaker(pool, "2.3")
    scheduler.enqueue(pool, entries(1, 3))
    assert (await claim_for(pool, three(), want=1)).probing == ""
    sync_redis().hset(deployment_keys((pool, "2.3")).breaker, "open_until", "1")
    claimed = await claim_for(pool, three(), want=2)
    assert sizes(claimed) == {"0.1": 1, "1.2": 0, "2.3": 1}
    assert claimed.probing == claimed.taken["2.3"].task_ids[0]
    scheduler.enqueue(pool, entries(2, 3))
    assert sizes(await claim_for(pool, three()))["2.3"] == 0, "one at a time"
    answered = DeploymentClaim("2.3", 5, released=[claimed.probing], succeeded=1, owners={1})
    scheduler.enqueue(pool, entries(3, 100))
    assert sizes(await claim_for(pool, three(**{"2.3": answered})))["2.3"] == 5


# --- What has failed a task -----------------------------------------------------------------------
def again(pool: str, task_id: str, *tried: str) -> None:
    scheduler.enqueue(pool, [Entry(task_id, Lane.NORMAL, 1, tried=tried)])


async def test_a_task_goes_to_a_deployment_that_it_has_not_tried(pool: str) -> None:
    again(pool, "moving", "0.1", "2.3")
    claimed = await claim_for(pool, three())
    assert claimed.taken["1.2"].task_ids == ["moving"]
    assert claimed.tried == {"moving": ["0.1", "2.3"]}


async def test_it_waits_for_one_that_is_full_and_keeps_no_others_waiting(pool: str) -> None:
    both = [DeploymentClaim("0.1", 50), DeploymentClaim("1.2", 1)]
    scheduler.enqueue(pool, [Entry("filling", Lane.NORMAL, 1, tried=["0.1"])])
    assert (await claim_for(pool, both)).taken["1.2"].task_ids == ["filling"]
    again(pool, "moving", "0.1")
    scheduler.enqueue(pool, entries(1, 3))
    claimed = await claim_for(pool, both, want=1)
    assert claimed.task_ids == ["1.0"]
    assert (await claim_for(pool, both)).task_ids == ["1.1", "1.2"]
    freed = [DeploymentClaim("0.1", 50), DeploymentClaim("1.2", 1, released=["filling"])]
    claimed = await claim_for(pool, freed)
    assert (claimed.task_ids, claimed.tried) == (["moving"], {"moving": ["0.1"]})


async def test_it_goes_back_where_no_other_can_be_called(pool: str) -> None:
    await open_breaker(pool, "1.2")
    again(pool, "moving", "0.1")
    both = [DeploymentClaim("0.1", 50), DeploymentClaim("1.2", 20)]
    assert (await claim_for(pool, both)).taken["0.1"].task_ids == ["moving"]


async def test_what_a_task_has_tried_goes_with_it(pool: str) -> None:
    again(pool, "moving", "0.1")
    scheduler.remove(pool, ["moving"])
    again(pool, "moving")
    assert (await claim_for(pool, three())).tried == {}


# --- Lane batch -----------------------------------------------------------------------------------
async def test_a_batch_leaves_a_tenth_of_each_cap_to_people(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200, Lane.BATCH))
    assert sizes(await claim_for(pool, three())) == {"0.1": 45, "1.2": 18, "2.3": 4}
    scheduler.enqueue(pool, entries(2, 200, Lane.INTERACTIVE))
    claimed = await claim_for(pool, three(), "other")
    assert sizes(claimed) == {"0.1": 5, "1.2": 2, "2.3": 1}
    assert all(task_id.startswith("2.") for task_id in claimed.task_ids)


async def test_a_batch_may_hold_one_call_of_the_smallest_cap(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 2, Lane.BATCH))
    assert len((await claim_for(pool, [DeploymentClaim("0.1", 1)])).task_ids) == 1


async def test_the_share_of_a_batch_is_counted_over_workers_and_given_back(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 200, Lane.BATCH))
    ten = DeploymentClaim("0.1", 10)
    mine = (await claim_for(pool, [ten], "w", want=5)).task_ids
    assert len((await claim_for(pool, [ten], "other")).task_ids) == 4
    released = DeploymentClaim("0.1", 10, released=mine[:3])
    assert len((await claim_for(pool, [released], "w")).task_ids) == 3
    # A restart of Redis loses the counts; the worker restores them with its slots.
    keys = deployment_keys((pool, "0.1"))
    worker = f"{pool}-w"
    running = {f"running-{number}": True for number in range(9)}
    sync_redis().delete(keys.in_use, keys.slots(worker), keys.batch_slots(worker))
    await scheduler.restore_slots((pool, "0.1"), worker, running, 60)
    assert (await claim_for(pool, [ten], "third")).task_ids == []
