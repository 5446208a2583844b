"""Which task runs when: caps over several workers, lanes, turns of owners, fallbacks, deadlines."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import User
from aily.concurrency.batching import Pace
from aily.database.threads import in_database
from aily.redis.clients import async_redis, sync_redis
from chat import scheduler
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import Simulator, running_simulator
from chat.models import LLMModel, Provider, Scene, SceneVersion, Status, Task
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.scheduler import DeploymentClaim, Fault, breakers, claims
from chat.scheduler.keys import pool_keys
from chat.services.cancel import cancel
from chat.services.follow import follower, state
from chat.services.submission import CompositeRequest
from chat.services.submit import Accepted, Submission, submit_many
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until
from tests.client import TaskFrames
from tests.waiting import eventually

#: The upstream's own cap in these tests: one request more, and it answers 429. It is small, so that
#: what a call costs on a busy machine is little beside what it takes.
CAP = 20
#: Those that fill it six times over.
TASKS = 6 * CAP


@pytest.fixture
async def simulator(loop_services: None) -> AsyncIterator[Simulator]:
    config = SimulatorConfig(
        port=0,
        latency_seconds=(0.5, 1.5),
        answer_tokens=(2, 4),
        tokens_per_second=0,
        concurrency=CAP,
    )
    async with running_simulator(config) as simulator:
        yield simulator


async def set_cap(cap: int) -> None:
    await in_database(LLMModel.objects.update, max_concurrency=cap)


async def submit_all(user: User, prompts: Sequence[str], **fields: Any) -> list[str]:
    submissions = [
        Submission(
            user.pk,
            CompositeRequest.model_validate(
                {"messages": [{"role": "user", "content": prompt}], **fields}
            ),
        )
        for prompt in prompts
    ]
    accepted: list[str] = []
    for start in range(0, len(submissions), 200):
        for outcome in await in_database(submit_many, submissions[start : start + 200]):
            assert isinstance(outcome, Accepted), outcome
            accepted.append(outcome.task_id)
    return accepted


async def ended(task_ids: Sequence[str]) -> None:
    """Wait until all of them have ended."""
    active = Task.objects.filter(pk__in=task_ids).active()

    async def have_ended() -> bool:
        return not await in_database(active.all().exists)

    await eventually(have_ended, seconds=40)


def in_order(field: str) -> list[int]:
    """Owners of all tasks that have it, in the order of this moment."""
    reached = Task.objects.filter(**{f"{field}__isnull": False}).order_by(field, "id")
    return list(reached.values_list("owner_id", flat=True))


# --- Caps ---------------------------------------------------------------------------------------
async def test_two_workers_fill_a_cap_and_never_exceed_it(
    start_worker: StartWorker,
    alice: User,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await set_cap(CAP)
    moments: list[tuple[float, int]] = []
    stats = simulator.stats
    for name in ("enter", "leave"):
        original = getattr(stats, name)

        def noted(model: str, original: Any = original) -> None:
            original(model)
            moments.append((time.monotonic(), stats.in_flight))

        monkeypatch.setattr(stats, name, noted)
    task_ids = await submit_all(alice, [f"Hi {number}" for number in range(TASKS)])
    await start_worker()
    await start_worker()
    await ended(task_ids)
    assert (stats.requests, stats.completed, stats.rejected_429) == (TASKS, TASKS, 0)
    assert stats.max_in_flight == CAP
    # The bench scenario `lease` asks for 0.95, on a machine that has time.
    assert used(moments) >= 0.5


async def test_a_task_put_back_between_claim_and_start_keeps_its_lease(
    start_worker: StartWorker, alice: User, simulator: Simulator
) -> None:
    await set_cap(2)
    await start_worker()
    [first] = await submit_all(alice, ["Take your time [sim:latency=3]"])
    await until(lambda: simulator.stats.in_flight == 1)
    # As the sweep does when it looks between the two.
    task = await row(first)
    pool = task.model.pool
    entry = scheduler.Entry(first, task.lane, task.owner_id, task.weight)
    await in_database(scheduler.enqueue, pool, [entry])
    await scheduler.ring(pool)
    await eventually(lambda: in_database(scheduler.missing, pool, [first]))
    task_ids = await submit_all(alice, ["Hi", "Hello"])
    await ended([first, *task_ids])
    assert (simulator.stats.requests, simulator.stats.max_in_flight) == (3, 2)


def used(moments: Sequence[tuple[float, int]]) -> float:
    """Share of the cap in use, from when it was first reached to when the last call began."""
    counts = [in_flight for _, in_flight in moments]
    first = counts.index(CAP)
    last = max(index for index in range(1, len(counts)) if counts[index] > counts[index - 1])
    area = sum(
        moments[index][1] * (moments[index + 1][0] - moments[index][0])
        for index in range(first, last)
    )
    return area / (CAP * (moments[last][0] - moments[first][0]))


# --- Lanes and owners ---------------------------------------------------------------------------
async def test_ten_interactive_tasks_do_not_wait_behind_a_thousand_of_a_batch(
    start_worker: StartWorker, alice: User, bob: User, simulator: Simulator
) -> None:
    cap = 10
    await set_cap(cap)
    prompt = "Hi [sim:latency=0.1,tokens=2]"
    await submit_all(alice, [prompt] * 1_000, lane="batch")
    await start_worker()
    await until(lambda: simulator.stats.completed > 2 * cap)
    ten = await submit_all(bob, [prompt] * 10, lane="interactive")
    # Not when they were created: storing them may take long.
    begun = await in_database(started_by, alice)
    await ended(ten)
    last = (await in_database(Task.objects.filter(pk__in=ten).latest, "started_at")).started_at
    assert await in_database(started_by, alice, last) - begun <= 2 * cap


def started_by(owner: User, moment: datetime | None = None) -> int:
    """How many of the owner's tasks have been started, or had been at that moment."""
    tasks = Task.objects.filter(owner=owner, started_at__isnull=False)
    return (tasks.filter(started_at__lt=moment) if moment else tasks).count()


async def test_two_owners_finish_their_kth_tasks_together(
    start_worker: StartWorker, alice: User, bob: User
) -> None:
    cap = 10
    await set_cap(cap)
    prompts = ["Hi [sim:latency=0.02,tokens=2]"] * 200
    task_ids = await submit_all(alice, prompts) + await submit_all(bob, prompts)
    await start_worker()
    await ended(task_ids)
    ends = await in_database(ends_of, alice, bob)
    every = sorted(ends[alice] + ends[bob])
    # They start by turns; calls that run at the same time come in any order, and so do ends that
    # are stored together, at the same moment.
    for hers, his in zip(ends[alice], ends[bob], strict=True):
        first, last = sorted((hers, his))
        assert bisect_left(every, last) - bisect_right(every, first) <= 3 * cap


def ends_of(*owners: User) -> dict[User, list[datetime]]:
    """When each owner's tasks finished, in their order."""
    return {
        owner: [
            task.finished_at
            for task in Task.objects.filter(owner=owner).order_by("finished_at")
            if task.finished_at is not None
        ]
        for owner in owners
    }


async def test_an_owner_of_weight_two_gets_two_turns_for_each_of_the_others(
    start_worker: StartWorker, alice: User, bob: User
) -> None:
    await set_cap(5)
    await in_database(User.objects.filter(pk=bob.pk).update, queue_weight=2)
    prompts = ["Hi [sim:latency=0.02,tokens=2]"] * 150
    task_ids = await submit_all(alice, prompts) + await submit_all(bob, prompts)
    await start_worker()
    await ended(task_ids)
    first = (await in_database(in_order, "started_at"))[:150]
    assert 92 <= first.count(bob.pk) <= 108


async def test_a_follower_of_a_waiting_task_is_sent_its_places(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "PLACE_SECONDS", 0.05)
    monkeypatch.setattr(state, "_RECHECK_PACE", Pace(0.05, max_seconds=0.05))
    await set_cap(1)
    await worker.reload_pools()
    *before, last = [await submit_as_alice(f"{n} [sim:latency=60]") for n in range(4)]
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(last, alice, frames))

    def positions() -> list[int]:
        return [frame["position"] for frame in frames.frames if frame["type"] == "task.queued"]

    async def is_at(position: int) -> None:
        await until(lambda: position in positions())

    for position, task_id in zip((3, 2, 1), before, strict=True):
        await is_at(position)
        await cancel(alice.pk, UUID(task_id))
    await until(lambda: "task.started" in frames.types)
    await cancel(alice.pk, UUID(last))
    await reading
    queued = [frame for frame in frames.frames if frame["type"] == "task.queued"]
    assert positions() == sorted(positions(), reverse=True)
    assert all(frame["eta_seconds"] is None or frame["eta_seconds"] >= 0 for frame in queued)
    assert all("id" not in frame for frame in queued)


# --- Deadlines ----------------------------------------------------------------------------------
async def test_a_task_whose_deadline_passed_in_the_queue_expires_without_a_call(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User, simulator: Simulator
) -> None:
    task_id = await submit_as_alice("Too late", deadline_seconds=0.01)
    overdue = Task.objects.filter(pk=task_id, deadline_at__lt=Now())
    await eventually(lambda: in_database(overdue.all().exists))
    await start_worker()
    frames = await frames_of(task_id, alice)
    assert frames.types == ["task.expired"]
    task = await row(task_id)
    assert (task.status, task.attempt, simulator.stats.requests) == (Status.EXPIRED, 0, 0)


async def test_the_sweep_expires_what_no_worker_takes(
    submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    task_id = await submit_as_alice("Nobody is there", deadline_seconds=0.01)

    async def has_expired() -> bool:
        await in_database(recovery.expire)
        return (await row(task_id)).status != Status.QUEUED

    await eventually(has_expired)
    assert (await frames_of(task_id, alice)).types == ["task.expired"]


# --- Fallbacks ----------------------------------------------------------------------------------
@pytest.fixture
def fallbacks(model: LLMModel) -> Scene:
    """A scene `s` whose model has two fallbacks, of two other providers."""
    names = ("second", "third")
    for name in names:
        provider = Provider.objects.create(name=name, base_url="http://127.0.0.1:9")
        LLMModel.objects.create(provider=provider, name=name)
    scene = Scene.objects.create(slug="s", title="S")
    version = SceneVersion.objects.create(
        scene=scene,
        number=1,
        user_template="{{ text }}",
        variables_schema={"type": "object", "properties": {"text": {"type": "string"}}},
        fallback_models=list(names),
    )
    scene.live_version = version
    scene.save()
    return scene


@pytest.fixture
def ask(alice: User, fallbacks: Scene, settings: Settings) -> Any:
    settings.TASK_RETRY_SECONDS = 0.02

    async def ask_scene(text: str) -> str:
        request = CompositeRequest.model_validate({"scene": "s", "variables": {"text": text}})
        (accepted,) = await in_database(submit_many, [Submission(alice.pk, request)])
        assert isinstance(accepted, Accepted), accepted
        return accepted.task_id

    return ask_scene


@pytest.mark.parametrize(
    ("fault", "model_name", "attempts"),
    [
        ("status=402,times=1", "second", 2),
        ("status=401,times=2", "third", 3),
        ("status=503,times=1", "deepseek-flash", 2),
        ("status=503,times=2", "second", 3),
        ("status=503,times=4", "third", 5),
    ],
)
async def test_fallbacks_take_over_in_order(
    ask: Any,
    fallbacks: Scene,
    start_worker: StartWorker,
    alice: User,
    fault: str,
    model_name: str,
    attempts: int,
) -> None:
    """At once where the account is to blame, after one more try where that may help."""
    await start_worker()
    task_id = await ask(f"Hi [sim:{fault},latency=0,tokens=2]")
    frames = await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.model.name) == (Status.SUCCEEDED, model_name)
    assert task.attempt == attempts
    frames.check_ids()
    started = [frame["model"] for frame in frames.frames if frame["type"] == "task.started"]
    assert started[-1] == model_name


async def test_a_request_that_is_wrong_is_wrong_everywhere(
    ask: Any, start_worker: StartWorker, alice: User, simulator: Simulator
) -> None:
    await start_worker()
    task_id = await ask("Hi [sim:status=400]")
    await frames_of(task_id, alice)
    assert (await row(task_id)).status == Status.FAILED
    assert simulator.stats.requests == 1


async def test_a_model_that_moves_to_another_provider_takes_its_queued_tasks_along(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    worker = await start_worker()
    await scheduler.report_failure(
        model.own_key,
        "a-task",
        owner_id=1,
        lane=1,
        cap=1,
        fault=Fault.THROTTLED,
        retry_after_seconds=600,
    )
    old_name, waiting = model.own_key[1], await submit_as_alice("Waits [sim:tokens=2]")
    url = await in_database(lambda: Provider.objects.get(pk=model.provider_id).base_url)
    other = await in_database(lambda: Provider.objects.create(name="other", base_url=url))
    model.provider = other
    await in_database(model.save)
    await worker.reload_pools()
    pool = worker.pools.of_model(model.pk)
    assert pool is not None
    assert old_name not in pool.deployments, "it starts nothing more at the old provider"
    for task_id in (waiting, await submit_as_alice("New [sim:tokens=2]")):
        assert (await frames_of(task_id, alice)).types[-1] == "task.completed"
    assert await in_database(scheduler.missing, model.pool, [waiting]) == [waiting]


async def test_with_a_single_failure_allowed_a_fallback_takes_over_at_once(
    ask: Any, start_worker: StartWorker, alice: User, settings: Settings
) -> None:
    settings.TASK_MAX_FAILURES = 1
    await start_worker()
    task_id = await ask("Hi [sim:status=503,times=1,latency=0,tokens=2]")
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.model.name, task.attempt) == (Status.SUCCEEDED, "second", 2)


async def test_what_waits_for_a_provider_that_is_left_alone_goes_to_its_fallback(
    ask: Any, start_worker: StartWorker, alice: User, model: LLMModel
) -> None:
    worker = await start_worker()
    for number in range(breakers.BREAKER_FAILURES):
        await scheduler.report_failure(
            model.own_key,
            f"task-{number}",
            owner_id=alice.pk,
            lane=1,
            cap=10,
            fault=Fault.FAILED,
        )
    task_id = await ask("Hi [sim:latency=0,tokens=2]")
    for pool in await in_database(recovery.divert):
        worker.wake(pool)
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, task.model.name, task.attempt) == (Status.SUCCEEDED, "second", 1)
    assert scheduler.missing(model.pool, [task_id]) == [task_id]


async def test_a_redis_that_lost_the_leases_does_not_let_the_cap_be_exceeded(
    start_worker: StartWorker,
    alice: User,
    model: LLMModel,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "COUNTING_MS", 5000)
    await set_cap(2)
    worker, other = await start_worker(), await start_worker()
    first = await submit_all(alice, ["Long [sim:stall=middle,stall_seconds=8]"] * 2)
    await until(lambda: simulator.stats.in_flight == 2)
    await async_redis().flushdb()
    second = await submit_all(alice, ["Short", "Short as well"])
    for runtime in (worker, other):
        runtime.wake(model.pool)
    await ended([*first, *second])
    assert simulator.stats.max_in_flight == 2


async def test_calls_that_go_on_without_postgresql_keep_their_room(
    start_worker: StartWorker,
    alice: User,
    model: LLMModel,
    simulator: Simulator,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease_seconds = settings.WORKER_LEASE_SECONDS = 3
    await set_cap(2)
    worker = await start_worker()
    await submit_all(alice, ["Long [sim:stall=middle,stall_seconds=20]"])
    await until(lambda: simulator.stats.in_flight == 1)
    is_stuck = asyncio.Event()

    def away(*args: object) -> None:
        raise OperationalError("the database is away")

    def start(*args: object) -> None:
        loop.call_soon_threadsafe(is_stuck.set)
        away()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("chat.runner.lease.renew", away)
    monkeypatch.setattr("chat.models.transitions.start", start)
    # Its claims wait for PostgreSQL from now on.
    await submit_all(alice, ["Short"])
    await is_stuck.wait()
    worker_id = worker.worker_id
    threads: Any = sync_redis()
    workers = pool_keys(model.pool).workers
    runs_out_at = threads.zscore(workers, worker_id)
    await until(lambda: threads.zscore(workers, worker_id) > runs_out_at + lease_seconds)
    await scheduler.aenqueue(model.pool, [scheduler.Entry("another", 0, alice.pk, 1.0)])
    claimed = await scheduler.claim(
        model.pool, "other", [DeploymentClaim(model.own_key[1], 1)], want=1, lease_seconds=10
    )
    assert claimed.task_ids == []
