"""Models that staff pause hold their tasks; those that staff disable end them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat.models import LLMModel, Provider, Status, Task, transitions
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.scheduler.keys import pool_keys
from chat.services import pauses
from chat.services.submission import CompositeRequest
from chat.services.submit import Accepted, Submission, submit
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row
from tests.chat.routes import start_own

QUICK = "Hi [sim:tokens=1]"


async def accept(owner: User) -> Accepted:
    messages = [{"role": "user", "content": QUICK}]
    request = CompositeRequest.model_validate({"messages": messages})
    return await submit(Submission(owner_id=owner.pk, request=request))


async def settled_claims(worker: Runtime) -> None:
    """Two looks of a worker at its pools, after which it has claimed what it may claim."""
    for pool in list(worker.pools):
        await worker._claimer._claim(pool)
        await worker._claimer._claim(pool)


@pytest.mark.parametrize("kind", ["model", "provider"])
async def test_a_paused_model_accepts_and_holds_and_starts_at_once_when_it_is_resumed(
    kind: str, worker: Runtime, model: LLMModel, alice: User
) -> None:
    paused = model if kind == "model" else model.provider
    assert await in_database(pauses.pause, paused)
    accepted = await accept(alice)
    assert accepted.waiting_for is not None
    assert accepted.waiting_for.kind == "staff"
    assert (accepted.position, accepted.eta_seconds) == (1, None)
    await eventually(lambda: held(worker))
    await settled_claims(worker)
    assert (await row(accepted.task_id)).status == Status.QUEUED
    if kind == "model":
        assert await in_database(pauses.lift_model, model)
    else:
        assert await in_database(pauses.lift_provider, model.provider)
    assert (await frames_of(accepted.task_id, alice)).types[-1] == "task.completed"


async def held(worker: Runtime) -> bool:
    return all(pool.is_held for pool in worker.pools)


async def test_a_worker_that_does_not_know_of_the_pause_yet_starts_nothing(
    worker: Runtime, model: LLMModel, submit_as_alice: Submit
) -> None:
    await in_database(Provider.objects.update, paused_at="2026-11-30T00:00Z")
    task_id = await submit_as_alice(QUICK)
    # It claims the task, is refused the start, and finds out.
    await eventually(lambda: held(worker))
    assert (await row(task_id)).attempt == 0
    assert await async_redis().zcard(pool_keys(model.pool).ready) == 1


async def test_a_pause_by_staff_survives_an_emptied_redis(
    start_worker: StartWorker, model: LLMModel, alice: User, submit_as_alice: Submit
) -> None:
    await in_database(pauses.pause, model)
    task_id = await submit_as_alice(QUICK)
    await async_redis().flushdb()
    worker = await start_worker()
    await in_database(recovery.requeue_missing)
    await settled_claims(worker)
    assert (await row(task_id)).status == Status.QUEUED
    frames = frames_of(task_id, alice)
    following = asyncio.ensure_future(frames)
    await in_database(pauses.lift_model, model)
    assert (await following).types[-1] == "task.completed"


async def test_calls_that_run_go_on_while_their_model_is_paused(
    worker: Runtime, model: LLMModel, alice: User, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("Slow [sim:tokens=20,tps=40]")
    await eventually(lambda: is_running(task_id))
    await in_database(pauses.pause, model)
    assert (await frames_of(task_id, alice)).types[-1] == "task.completed"


async def is_running(task_id: str) -> bool:
    return (await row(task_id)).status == Status.RUNNING


# --- Disabled models ------------------------------------------------------------------------------
def queue(model: LLMModel, owner: User, **fields: Any) -> Task:
    task: Task = Task.objects.create(owner=owner, model=model, messages=[], **fields)
    return task


@pytest.mark.parametrize("kind", ["model", "provider"])
def test_what_waits_for_a_disabled_model_fails_with_a_code_of_its_own(
    kind: str, model: LLMModel, alice: User
) -> None:
    task = queue(model, alice)
    disabled = model if kind == "model" else model.provider
    disabled.is_enabled = False
    disabled.save()
    recovery.sweep()
    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert task.error is not None
    assert task.error["code"] == "model_disabled"


def test_it_goes_over_to_a_fallback_that_is_enabled_even_if_that_is_paused(
    model: LLMModel, alice: User
) -> None:
    second = LLMModel.objects.create(provider=model.provider, name="second", is_enabled=False)
    third = LLMModel.objects.create(provider=model.provider, name="third")
    pauses.pause(third)
    task = queue(model, alice, fallbacks=[second.pk, third.pk])
    LLMModel.objects.filter(pk=model.pk).update(is_enabled=False)
    recovery.sweep()
    task.refresh_from_db()
    assert (task.status, task.model) == (Status.QUEUED, third)


def test_what_is_enabled_again_before_the_sweep_goes_on(model: LLMModel, alice: User) -> None:
    task = queue(model, alice)
    LLMModel.objects.filter(pk=model.pk).update(is_enabled=False)
    LLMModel.objects.filter(pk=model.pk).update(is_enabled=True)
    assert transitions.fail_disabled() == []
    recovery.sweep()
    task.refresh_from_db()
    assert task.status == Status.QUEUED


def test_followers_of_a_task_of_a_disabled_model_fail_with_it(model: LLMModel, alice: User) -> None:
    leader = queue(model, alice)
    follower = queue(model, alice, leader=leader)
    LLMModel.objects.filter(pk=model.pk).update(is_enabled=False)
    recovery.sweep()
    follower.refresh_from_db()
    assert follower.error is not None
    assert follower.error["code"] == "model_disabled"


async def test_a_worker_starts_nothing_of_a_disabled_model(
    worker: Runtime, model: LLMModel, alice: User, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("Later [sim:tokens=1]")
    await frames_of(task_id, alice)
    await in_database(Provider.objects.update, is_enabled=False)
    task = await in_database(queue, model, alice)
    assert await in_database(start_own, worker._held.worker_id, model.pk, [str(task.pk)]) == []
    await in_database(recovery.sweep)
    frames = await frames_of(str(task.pk), alice)
    assert frames.types == ["task.failed"]
