"""What a death or a lost message leaves behind is put right, once, and logs end in their place."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis, sync_redis
from chat import eventlog, scheduler
from chat.eventlog.keys import log_key
from chat.events import EventId
from chat.llm.simulator.answers import simulated_answer
from chat.models import LLMModel, Status, Task, Worker, transitions
from chat.runner import recovery
from chat.scheduler.keys import pool_keys
from chat.services.cancel import cancel
from chat.services.follow import follow
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until
from tests.chat.runner.crashes import crash
from tests.chat.witness import make_witness
from tests.client import TaskFrames

STALLS_ONCE = "[sim:tokens=30,stall=middle,times=1]"


async def test_a_task_taken_from_a_dead_worker_and_cancelled_ends_after_its_log(
    submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    await crash(task_id, alice)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: frames.text)
    await in_database(recovery.sweep)
    assert (await row(task_id)).status == Status.QUEUED
    await cancel(alice.pk, UUID(task_id))
    await reading
    frames.check_ids()
    assert (frames.types[-1], frames.last_id) == ("task.cancelled", "1-5")
    again = await frames_of(task_id, alice)
    assert again.logged == frames.logged


async def test_a_task_that_crashes_too_often_fails_after_its_log(
    submit_as_alice: Submit, alice: User, settings: Settings
) -> None:
    settings.TASK_MAX_CRASHES = 1
    task_id = await submit_as_alice("Hello")
    for attempt in (1, 2):
        await crash(task_id, alice)
        await in_database(recovery.sweep)
        assert (await row(task_id)).crashes == attempt
    frames = await frames_of(task_id, alice)
    frames.check_ids()
    task = await row(task_id)
    assert (task.status, task.error) == (Status.FAILED, transitions.WORKER_LOST)
    assert frames.end is not None
    assert (frames.end["error"], frames.last_id) == (task.error, f"2-{task.last_event}")


async def test_a_follower_that_is_ahead_of_the_row_still_gets_the_end(
    submit_as_alice: Submit, alice: User
) -> None:
    """Redis was away when its worker lost the task: the row lacks the last event of the log."""
    task_id = await submit_as_alice("Hello")
    await crash(task_id, alice)
    seen = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, seen))
    await until(lambda: seen.text)
    await in_database(transitions.recover, 5)
    await async_redis().delete(log_key(task_id))
    await in_database(transitions.cancel_queued, [UUID(task_id)])
    reading.cancel()
    rest = TaskFrames()
    async with asyncio.timeout(10):
        from_seen = follow(task_id, alice.pk, EventId.parse(seen.last_id or ""))
        async for frame in from_seen:
            rest.add(msgspec.json.decode(frame.frame))
    assert rest.types == ["task.cancelled"]


async def test_a_worker_that_was_declared_dead_is_fenced_off_and_stops_its_calls(
    start_worker: StartWorker,
    submit_as_alice: Submit,
    alice: User,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.WORKER_LEASE_SECONDS = 20
    monkeypatch.setattr("chat.runner.runtime.RENEWALS", 40)
    zombie = await start_worker()
    prompt = f"Take me over {STALLS_ONCE}"
    task_id = await submit_as_alice(prompt)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: frames.text)
    first_life = zombie.worker_id
    past = timezone.now() - timedelta(seconds=1)
    await in_database(Worker.objects.filter(pk=first_life).update, lease_until=past)
    await in_database(make_witness)
    await in_database(recovery.declare_dead)
    await start_worker()
    # The sweep is periodic: a claim that met the first worker's end is put back by the next one.
    while not reading.done():
        for pool in await in_database(recovery.sweep):
            await scheduler.ring(pool)
        await asyncio.wait([reading], timeout=0.5)
    await reading
    frames.check_ids()
    messages = [{"role": "user", "content": prompt}]
    expected = simulated_answer({"model": "deepseek-flash", "messages": messages}).text
    task = await row(task_id)
    assert (task.status, task.attempt, task.crashes) == (Status.SUCCEEDED, 2, 1)
    assert frames.text == task.text == expected
    # It comes back under another id, and works.
    await until(lambda: zombie.worker_id != first_life)
    await until(lambda: not zombie.calls)


async def test_queued_tasks_that_redis_forgot_are_put_back(
    submit_as_alice: Submit, model: LLMModel
) -> None:
    task_ids = [await submit_as_alice(f"Hello {n}") for n in range(3)]
    assert await in_database(recovery.sweep) == set()
    await in_database(scheduler.remove, model.pool, task_ids[1:])
    assert await in_database(recovery.sweep) == {model.pool}
    assert await in_database(scheduler.missing, model.pool, task_ids) == []


async def test_tasks_that_an_older_version_made_ready_go_on(
    submit_as_alice: Submit, model: LLMModel, alice: User, start_worker: StartWorker
) -> None:
    """An upgrade that renames Redis's keys leaves the ready set behind under its old name."""
    task_ids = [await submit_as_alice(f"Hello {n}") for n in range(2)]
    keys = pool_keys(model.pool)
    sync_redis().delete(keys.ready, keys.known)
    sync_redis().zadd(f"aily:ready:{model.pk}", dict.fromkeys(task_ids, 1))
    await start_worker()
    for pool in await in_database(recovery.sweep):
        await scheduler.ring(pool)
    for task_id in task_ids:
        assert (await frames_of(task_id, alice)).types[-1] == "task.completed"
    sync_redis().delete(f"aily:ready:{model.pk}")


async def test_a_task_that_waits_for_its_next_attempt_is_left_waiting(
    submit_as_alice: Submit, model: LLMModel
) -> None:
    task_id = await submit_as_alice("Hello")
    await in_database(scheduler.remove, model.pool, [task_id])
    later = timezone.now() + timedelta(hours=1)
    await in_database(Task.objects.filter(pk=task_id).update, not_before=later)
    assert await in_database(recovery.sweep) == set()


async def test_a_task_whose_deadline_passes_in_the_queue_expires_and_its_followers_are_sent_the_end(
    submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hurry", deadline_seconds=60)
    past = timezone.now() - timedelta(seconds=1)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await in_database(Task.objects.filter(pk=task_id).update, deadline_at=past)
    await in_database(recovery.sweep)
    await reading
    assert (frames.types, frames.last_id) == (["task.expired"], "0-1")
    assert (await row(task_id)).status == Status.EXPIRED


async def test_sweeps_at_once_do_each_thing_once(
    submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    task_ids = [await submit_as_alice(f"Hello {n}") for n in range(5)]
    for task_id in task_ids:
        await crash(task_id, alice)
    await asyncio.gather(*(in_database(recovery.sweep) for _ in range(4)))
    tasks: list[Any] = [await row(task_id) for task_id in task_ids]
    assert {(task.status, task.crashes, task.attempt) for task in tasks} == {("queued", 1, 1)}
    assert {task.last_event for task in tasks} == {4}
    attempts = [(task_id, 1) for task_id in task_ids]
    assert await in_database(eventlog.last_events, attempts) == [4] * 5


@pytest.fixture(autouse=True)
def _needs_loop_services(loop_services: None) -> None:
    pass
