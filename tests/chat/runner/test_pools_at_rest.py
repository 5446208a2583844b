"""Pools that nothing goes on in: one look at all of them replaces a claim of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import redis
from asgiref.sync import sync_to_async

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from chat import scheduler
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Status
from chat.runner import claims, recovery
from chat.runner.pools import Pool
from chat.runner.runtime import Runtime
from chat.scheduler.keys import pool_keys
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row, until


@pytest.fixture
async def resting(start_worker: StartWorker) -> Runtime:
    worker = await start_worker()
    await until(lambda: all(pool.is_at_rest for pool in worker.pools))
    return worker


@pytest.fixture
def pool(resting: Runtime) -> Pool:
    [pool] = resting.pools
    return pool


async def test_nothing_is_claimed_for_a_pool_at_rest(
    resting: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    looks: list[Sequence[str]] = []
    claim, with_work = scheduler.claim, scheduler.with_work

    async def counted_claim(pool: str, *args: object, **options: object) -> scheduler.Claim:
        made.append(pool)
        return await claim(pool, *args, **options)  # type: ignore[arg-type]

    async def counted_look(pools: Sequence[str]) -> list[str]:
        looks.append(pools)
        return await with_work(pools)

    monkeypatch.setattr(scheduler, "claim", counted_claim)
    monkeypatch.setattr(scheduler, "with_work", counted_look)
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.01)
    await until(lambda: len(looks) > 20)
    assert made == []
    assert set(looks[-1]) == {pool.name for pool in resting.pools}


async def test_a_task_whose_ring_was_lost_runs_all_the_same(
    pool: Pool, submit_as_alice: Submit, alice: User
) -> None:
    # As after the ring of another submit: none rings again for a while.
    sync_redis().set(pool_keys(pool.name).rung, 1, ex=600)
    task_id = await submit_as_alice("hello")
    await frames_of(task_id, alice)
    assert (await row(task_id)).status == Status.SUCCEEDED
    # And then the pool comes to rest again, with its slot given back.
    await until(lambda: pool.is_at_rest)
    [deployment] = pool.deployments.values()
    assert not deployment.slots
    assert not deployment.released
    assert not sync_redis().hgetall(scheduler.keys.deployment_keys(deployment.key).in_use)


async def test_a_pool_comes_to_rest_after_a_task_that_was_claimed_twice(
    pool: Pool, submit_as_alice: Submit, alice: User, simulator: Simulator
) -> None:
    task_id = await submit_as_alice("Take your time [sim:latency=2]")
    await until(lambda: simulator.stats.in_flight == 1)
    # As the sweep does when it looks between a claim and its start.
    task = await row(task_id)
    entry = scheduler.Entry(task_id, task.lane, task.owner_id, task.weight)
    await in_database(scheduler.enqueue, pool.name, [entry])
    await scheduler.ring(pool.name)
    await eventually(lambda: in_database(scheduler.missing, pool.name, [task_id]))
    await frames_of(task_id, alice)
    await until(lambda: pool.is_at_rest)


async def test_a_pool_with_a_call_is_not_at_rest_after_the_reply_of_a_claim_was_lost(
    resting: Runtime,
    pool: Pool,
    submit_as_alice: Submit,
    alice: User,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[scheduler.Claim] = []
    claim = scheduler.claim

    async def losing_the_first(*args: Any, **options: Any) -> scheduler.Claim:
        claimed = await claim(*args, **options)
        if claimed.task_ids:
            made.append(claimed)
            if len(made) == 1:
                raise redis.TimeoutError
        return claimed

    monkeypatch.setattr(scheduler, "claim", losing_the_first)
    task_id = await submit_as_alice("Take your time [sim:latency=3]")
    await until(lambda: made)
    # Twice, as only then a slot is taken for one without a call.
    await resting.give_back()
    await resting.give_back()
    await in_database(recovery.sweep)
    resting.wake(pool.name)
    await until(lambda: simulator.stats.in_flight == 1)
    [deployment] = pool.deployments.values()
    pool.woken.set()
    await until(lambda: not (deployment.released or pool.woken.is_set()))
    assert deployment.slots == {task_id}
    assert not pool.is_at_rest
    await frames_of(task_id, alice)
    await until(lambda: pool.is_at_rest)


async def test_a_pool_that_redis_has_lost_is_known_again_before_its_next_task(pool: Pool) -> None:
    keys = pool_keys(pool.name)
    sync_redis().delete(keys.known)
    await until(lambda: sync_redis().exists(keys.known))


async def test_a_changed_cap_is_stored_for_others_to_read(pool: Pool) -> None:
    await sync_to_async(LLMModel.objects.update)(max_concurrency=17)
    scheduler.reload_workers()
    stats = pool_keys(pool.name).stats
    await until(lambda: cast("bytes | None", sync_redis().hget(stats, "cap")) == b"17")
