"""Pauses and circuit breakers: few tasks wait, and their followers are sent why."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from chat import scheduler
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Provider, Scene, SceneVersion, Status, Task
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.scheduler import breakers
from chat.scheduler.keys import deployment_keys
from chat.services import pauses
from chat.services.cancel import cancel
from chat.services.submission import CompositeRequest
from chat.services.submit import Accepted, Submission, submit
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row, until
from tests.client import TaskFrames

FOREVER = "1789000000"


async def ask(user: User, prompt: str, **fields: Any) -> Accepted:
    request = CompositeRequest.model_validate(
        {"messages": [{"role": "user", "content": prompt}], **fields}
    )
    return await submit(Submission(owner_id=user.pk, request=request))


async def requeued(task_id: str, attempt: int = 1) -> Task:
    """The row once its attempt has sent it back."""

    async def sent_back() -> Task | None:
        task = await row(task_id)
        assert task.status in (Status.QUEUED, Status.RUNNING), task.error
        return task if task.status == Status.QUEUED and task.attempt == attempt else None

    task = await eventually(sent_back)
    assert task is not None
    return task


def pause(model: LLMModel) -> float:
    return scheduler.blocks([model.own_key])[0][model.own_key].seconds_left


# --- Retry-After ----------------------------------------------------------------------------------
async def test_no_retry_after_keeps_a_task_or_a_model_for_longer_than_the_setting_says(
    start_worker: StartWorker, alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.LLM_RETRY_AFTER_MAX_SECONDS = 60
    asked = (FOREVER, "1e12", "1e300", "Fri 31 Dec 9999 23:59:59 GMT")
    cases = [(status, seconds) for status in (429, 503) for seconds in asked]
    # A model each, as the first 429 pauses its own.
    models = await in_database(
        LLMModel.objects.bulk_create,
        [LLMModel(provider=model.provider, name=f"m{number}") for number in range(len(cases))],
    )
    worker = await start_worker()
    for (status, seconds), own in zip(cases, models, strict=True):
        prompt = f"Later [sim:status={status},retry_after={seconds}]"
        task = await requeued((await ask(alice, prompt, model=own.name)).task_id)
        assert task.not_before is not None, (status, seconds)
        left = (task.not_before - datetime.now(UTC)).total_seconds()
        assert 50 < left <= 61, (status, seconds)
        if status == 429:
            assert 50 < await in_database(pause, own) <= 60, seconds
    await until(lambda: not worker.calls.by_task)


async def test_a_task_whose_provider_asks_to_stay_away_goes_to_its_fallback_at_once(
    scene: Scene, start_worker: StartWorker, alice: User
) -> None:
    await start_worker()
    task_id = await ask_scene(alice, f"Hi [sim:status=429,retry_after={FOREVER},times=1]")
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.model.name, task.attempt) == (Status.SUCCEEDED, "second", 2)


async def test_what_waits_for_a_paused_model_goes_to_its_fallback_with_the_next_sweep(
    scene: Scene, start_worker: StartWorker, alice: User, model: LLMModel
) -> None:
    worker = await start_worker()
    await throttle(model, seconds=120)
    task_id = await ask_scene(alice, "Hi [sim:tokens=2]")
    for pool in await in_database(recovery.sweep):
        worker.wake(pool)
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.model.name, task.attempt) == (Status.SUCCEEDED, "second", 1)
    assert task.fallbacks == (await row(task_id)).fallbacks


async def test_fallbacks_that_are_paused_as_well_are_passed_over_and_kept(
    scene: Scene, submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    second = await in_database(LLMModel.objects.get, name="second")
    third = await in_database(LLMModel.objects.get, name="third")
    await throttle(model, seconds=120)
    await throttle(second, seconds=120)
    task_id = await ask_scene(alice, "Hi")
    await in_database(recovery.divert)
    task = await row(task_id)
    assert (task.model_id, task.fallbacks) == (third.pk, [second.pk])
    # Where all are paused it waits where it is.
    await throttle(third, seconds=120)
    assert await in_database(recovery.divert) == set()
    assert (await row(task_id)).model_id == third.pk


async def test_a_pause_of_a_moment_is_no_reason_to_go_elsewhere(
    scene: Scene, alice: User, model: LLMModel, loop_services: None
) -> None:
    await throttle(model, seconds=1)
    task_id = await ask_scene(alice, "Hi")
    assert await in_database(recovery.divert) == set()
    assert (await row(task_id)).model_id == model.pk


async def test_more_than_one_page_is_diverted_by_one_sweep(
    scene: Scene,
    alice: User,
    model: LLMModel,
    monkeypatch: pytest.MonkeyPatch,
    loop_services: None,
) -> None:
    monkeypatch.setattr(recovery, "PAGE", 0)
    second = await in_database(LLMModel.objects.get, name="second")
    tasks = [
        Task(owner=alice, model=model, messages=[], fallbacks=[second.pk]) for _ in range(1200)
    ]
    await in_database(Task.objects.bulk_create, tasks)
    await throttle(model, seconds=120)
    await in_database(recovery.divert)
    waiting = Task.objects.filter(model=model)
    assert not await in_database(waiting.exists)


async def test_a_lifted_pause_lets_the_waiting_go_at_once(
    worker: Runtime, submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    await throttle(model, seconds=120)
    task_id = await submit_as_alice("Hi [sim:tokens=2]")
    assert await in_database(pauses.lift_model, model)
    assert (await frames_of(task_id, alice)).types[-1] == "task.completed"


async def throttle(model: LLMModel, *, seconds: float) -> None:
    await scheduler.report_failure(
        model.own_key,
        "a-task",
        owner_id=1,
        lane=1,
        cap=10,
        fault=scheduler.Fault.THROTTLED,
        retry_after_seconds=seconds,
    )


# --- The breaker ----------------------------------------------------------------------------------
async def fail_twenty(user: User, **fields: Any) -> list[str]:
    """Batch prompts of one owner that always fail with 500, each at least once."""
    asked = [
        ask(user, f"Bad {number} [sim:status=500]", lane="batch", **fields) for number in range(20)
    ]
    task_ids = [accepted.task_id for accepted in await asyncio.gather(*asked)]
    lasting = Task.objects.filter(pk__in=task_ids, failures=0)

    async def have_failed() -> bool:
        return not await in_database(lasting.all().exists)

    await eventually(have_failed)
    return task_ids


@pytest.fixture
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker stays open for longer than a test lasts, unless a probe closes it."""
    monkeypatch.setattr(breakers, "BREAKER_SECONDS", 120)
    settings.TASK_RETRY_SECONDS = 0.1
    settings.TASK_MAX_FAILURES = 100


async def is_open() -> bool:
    models = await in_database(lambda: list(LLMModel.objects.all()))
    return bool((await in_database(scheduler.blocks, [model.own_key for model in models]))[1])


@pytest.mark.usefixtures("_quick")
async def test_bad_prompts_of_one_owner_do_not_keep_another_waiting(
    worker: Runtime, alice: User, bob: User, simulator: Simulator
) -> None:
    await fail_twenty(alice)
    await eventually(is_open)
    for number in range(3):
        began = time.monotonic()
        accepted = await ask(bob, f"Good {number} [sim:tokens=3]", lane="interactive")
        assert (await frames_of(accepted.task_id, bob)).types[-1] == "task.completed"
        assert time.monotonic() - began < 60


@pytest.mark.usefixtures("_quick")
async def test_while_another_was_served_a_moment_ago_it_does_not_open_at_all(
    worker: Runtime, alice: User, bob: User, model: LLMModel
) -> None:
    accepted = await ask(bob, "Good [sim:tokens=3]")
    await frames_of(accepted.task_id, bob)
    await until(lambda: sync_redis().exists(deployment_keys(model.own_key).served))
    await fail_twenty(alice)
    assert not await is_open()


@pytest.mark.usefixtures("_quick")
async def test_the_first_text_of_a_probe_closes_the_breaker_not_its_end(
    worker: Runtime, alice: User, bob: User
) -> None:
    await fail_twenty(alice)
    await eventually(is_open)
    long = await ask(bob, "Long [sim:stall=middle,stall_seconds=120,tokens=4]", lane="interactive")
    quick = await ask(bob, "Quick [sim:tokens=3]", lane="interactive")
    began = time.monotonic()
    assert (await frames_of(quick.task_id, bob)).types[-1] == "task.completed"
    assert time.monotonic() - began < 60
    assert (await row(long.task_id)).status == Status.RUNNING


@pytest.mark.usefixtures("_quick")
async def test_a_healthy_task_of_the_same_owner_probes_before_those_that_failed(
    worker: Runtime,
    alice: User,
    model: LLMModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await fail_twenty(alice)
    await eventually(is_open)
    accepted = await ask(alice, "Good [sim:tokens=3]", lane="batch")
    assert accepted.waiting_for is not None
    assert accepted.waiting_for.kind == "breaker"
    assert accepted.eta_seconds is not None
    assert 0 < accepted.eta_seconds <= breakers.BREAKER_SECONDS
    sync_redis().hset(deployment_keys(model.own_key).breaker, "open_until", "1")
    worker.wake(model.pool)
    await frames_of(accepted.task_id, alice)
    assert (await row(accepted.task_id)).attempt == 1


async def test_the_breaker_of_a_dead_provider_opens_with_a_single_user_too(
    worker: Runtime, alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.TASK_RETRY_SECONDS = 0.1
    await in_database(Provider.objects.update, base_url="http://127.0.0.1:9")
    await worker.reload_pools()
    for number in range(breakers.BREAKER_UNREACHABLE):
        await ask(alice, f"Anybody there? {number}")
    await eventually(is_open)


@pytest.mark.usefixtures("_quick")
async def test_what_is_urgent_does_not_wait_for_a_batch_of_the_same_owner(
    worker: Runtime, alice: User, model: LLMModel
) -> None:
    await fail_twenty(alice)
    await eventually(is_open)
    # As after many more of the batch that were new when they failed.
    later = str(time.time() + 250)
    sync_redis().hset(
        deployment_keys(model.own_key).breaker, mapping={"open_until": later, "opened": 9}
    )
    began = time.monotonic()
    accepted = await ask(alice, "Good [sim:tokens=3]", lane="interactive")
    assert (await frames_of(accepted.task_id, alice)).types[-1] == "task.completed"
    assert time.monotonic() - began < 60


@pytest.mark.usefixtures("_quick")
async def test_a_breaker_that_is_closed_by_hand_is_closed(
    worker: Runtime, alice: User, model: LLMModel
) -> None:
    failing = await fail_twenty(alice)
    await eventually(is_open)
    # They would fail again, and open it.
    await asyncio.gather(*(cancel(alice.pk, UUID(task_id)) for task_id in failing))
    assert await in_database(pauses.lift_provider, model.provider)
    assert not await is_open()


# --- What followers are sent --------------------------------------------------------------------
async def test_a_follower_is_sent_the_pause_and_its_end(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    model: LLMModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.services.follow.follower.PLACE_SECONDS", 0.05)
    await throttle(model, seconds=60)
    accepted = await ask(alice, "Hi [sim:tokens=2]")
    assert accepted.eta_seconds is not None
    assert 30 < accepted.eta_seconds <= 60
    seen = TaskFrames()
    reading = asyncio.create_task(frames_of(accepted.task_id, alice, seen))
    await until(lambda: any(frame["type"] == "task.queued" for frame in seen.frames))
    await in_database(pauses.lift_model, model)
    frames = await reading
    (queued, *_) = [frame for frame in frames.frames if frame["type"] == "task.queued"]
    assert queued["waiting_for"]["kind"] == "pause"
    until_time = datetime.fromisoformat(queued["waiting_for"]["until"])
    assert timedelta(0) < until_time - datetime.now(UTC) < timedelta(seconds=61)
    assert 20 < queued["eta_seconds"] <= 60
    assert frames.types[-1] == "task.completed"


# --- A scene with fallbacks -----------------------------------------------------------------------
@pytest.fixture
def scene(model: LLMModel) -> Scene:
    """`s`, whose model has two fallbacks of the same provider."""
    for name in ("second", "third"):
        LLMModel.objects.create(provider=model.provider, name=name)
    scene = Scene.objects.create(slug="s", title="S")
    scene.live_version = SceneVersion.objects.create(
        scene=scene,
        number=1,
        user_template="{{ text }}",
        variables_schema={"type": "object", "properties": {"text": {"type": "string"}}},
        fallback_models=["second", "third"],
    )
    scene.save()
    return scene


async def ask_scene(user: User, text: str) -> str:
    request = msgspec.to_builtins({"scene": "s", "variables": {"text": text}})
    submission = Submission(user.pk, CompositeRequest.model_validate(request))
    return (await submit(submission)).task_id
