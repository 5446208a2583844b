"""A model with several deployments: simulated providers with caps and faults of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import scheduler
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import Simulator, running_simulator
from chat.models import Deployment, LedgerEntry, LLMModel, Provider, Status, Task
from chat.runner.runtime import Runtime
from chat.services import pauses
from chat.settlement import settle_ended_tasks
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row, until

#: Makes another simulated provider: a deployment of the model, and the simulator behind it.
AddDeployment = Callable[..., Awaitable[Simulator]]


@pytest.fixture
async def add_deployment(model: LLMModel, loop_services: None) -> AsyncIterator[AddDeployment]:
    async with AsyncExitStack() as stack:

        async def add(name: str, *, url: str = "", faults: Any = None, **fields: Any) -> Simulator:
            config = SimulatorConfig(
                port=0, latency_seconds=(0, 0), tokens_per_second=0, **(faults or {})
            )
            simulator = await stack.enter_async_context(running_simulator(config))
            provider = await in_database(
                lambda: Provider.objects.create(
                    name=name, base_url=url or simulator.url, is_simulated=True
                )
            )
            await in_database(
                lambda: Deployment.objects.create(
                    model=model, name=name, provider=provider, **fields
                )
            )
            return simulator

        yield add


async def ended(task_ids: list[str]) -> list[Task]:
    async def find() -> list[Task]:
        tasks = await in_database(lambda: list(Task.objects.filter(pk__in=task_ids)))
        return tasks if all(task.status not in ("queued", "running") for task in tasks) else []

    return await eventually(find)


def by_deployment(tasks: list[Task]) -> dict[str, int]:
    names = [task.deployment for task in tasks]
    return {name: names.count(name) for name in sorted(set(names))}


async def submit_many(submit: Submit, count: int, prompt: str, **fields: Any) -> list[str]:
    """Submit prompts of one length, so that each call has as many tokens as the others."""
    asked = (submit(f"{prompt} {number:03}", **fields) for number in range(count))
    return await asyncio.gather(*asked)


async def test_all_deployments_are_called_and_each_task_says_which(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    simulator: Simulator,
    model: LLMModel,
) -> None:
    await in_database(LLMModel.objects.update, max_concurrency=5)
    second = await add_deployment("second", max_concurrency=2, upstream_name="other-name")
    await start_worker()
    task_ids = await submit_many(submit_as_alice, 28, "Hi [sim:latency=0.1,tokens=2]")
    tasks = await ended(task_ids)
    assert {task.status for task in tasks} == {Status.SUCCEEDED}
    counts = by_deployment(tasks)
    assert set(counts) == {"second", "simulator"}
    assert counts["second"] >= 4
    assert (simulator.stats.max_in_flight, second.stats.max_in_flight) == (5, 2)
    assert {task.upstream_request_id != "" for task in tasks} == {True}


@pytest.mark.parametrize("faults", [{"error_rate": 1}, {"truncate_rate": 1}, {"api_key": "x"}])
async def test_what_fails_at_one_moves_on_at_once_and_costs_no_patience(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    alice: User,
    settings: Settings,
    faults: Any,
) -> None:
    settings.TASK_MAX_FAILURES = 1
    settings.TASK_RETRY_SECONDS = 3600
    failing = await add_deployment("failing", weight=1000, faults=faults)
    await start_worker()
    task_id = await submit_as_alice("Hi [sim:tokens=9]")
    frames = await frames_of(task_id, alice)
    assert frames.types[-1] == "task.completed"
    task = await row(task_id)
    assert (task.status, task.failures, task.attempt) == (Status.SUCCEEDED, 0, 2)
    assert (task.deployment, failing.stats.requests) == ("simulator", 1)


async def test_a_429_pauses_one_deployment_and_no_user_sees_it(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    settings: Settings,
) -> None:
    settings.TASK_MAX_FAILURES = 1
    throttled = await add_deployment(
        "throttled", weight=1000, max_concurrency=50, faults={"concurrency": 1}
    )
    await start_worker()
    tasks = await ended(await submit_many(submit_as_alice, 40, "Hi [sim:latency=0.05,tokens=2]"))
    assert {task.status for task in tasks} == {Status.SUCCEEDED}
    assert sum(task.failures for task in tasks) == 0
    assert throttled.stats.rejected_429 > 0
    [pause] = await in_database(pauses.pauses)
    assert (pause.kind, pause.name) == ("deployment", "deepseek-flash@throttled")


async def test_what_fails_everywhere_counts_once_a_round(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    settings: Settings,
    simulator: Simulator,
) -> None:
    settings.TASK_MAX_FAILURES = 2
    settings.TASK_RETRY_SECONDS = 0.05
    second = await add_deployment("second")
    await start_worker()
    [task] = await ended([await submit_as_alice("Bad [sim:status=500]")])
    assert (task.status, task.failures, task.attempt) == (Status.FAILED, 2, 4)
    assert (simulator.stats.requests, second.stats.requests) == (2, 2)


async def test_a_wrong_request_is_wrong_everywhere(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    simulator: Simulator,
) -> None:
    second = await add_deployment("second")
    await start_worker()
    [task] = await ended([await submit_as_alice("Bad [sim:status=400]")])
    assert (task.status, task.attempt) == (Status.FAILED, 1)
    assert simulator.stats.requests + second.stats.requests == 1


async def test_a_deployment_nobody_answers_for_keeps_no_task_waiting(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    settings: Settings,
) -> None:
    settings.TASK_MAX_FAILURES = 1
    await add_deployment("dead", url="http://127.0.0.1:9", max_concurrency=5, weight=1000)
    await start_worker()
    task_ids = await submit_many(submit_as_alice, 40, "Hi [sim:tokens=2]")
    tasks = await ended(task_ids)
    assert {(task.status, task.deployment) for task in tasks} == {(Status.SUCCEEDED, "simulator")}
    assert sum(task.failures for task in tasks) == 0


async def test_a_paused_deployment_takes_no_tasks_and_is_resumed(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    model: LLMModel,
) -> None:
    await add_deployment("second", weight=1000)
    worker = await start_worker()
    second = await in_database(pauses.find_deployment, "deepseek-flash@second")
    assert second is not None
    await in_database(pauses.pause, second)
    tasks = await ended(await submit_many(submit_as_alice, 10, "Hi [sim:tokens=2]"))
    assert by_deployment(tasks) == {"simulator": 10}
    await in_database(pauses.lift_deployment, second)
    own = await in_database(pauses.find_deployment, "deepseek-flash@simulator")
    assert own is not None
    await in_database(pauses.pause, own)
    tasks = await ended(await submit_many(submit_as_alice, 10, "Hi [sim:tokens=2]"))
    assert by_deployment(tasks) == {"second": 10}
    # With both paused the model is: tasks are accepted and held.
    await in_database(pauses.pause, second)
    waiting = await submit_as_alice("Hi [sim:tokens=2]")
    await until(lambda: all(pool.is_held for pool in worker.pools))
    assert (await row(waiting)).status == Status.QUEUED
    await in_database(pauses.lift_deployment, own)
    assert by_deployment(await ended([waiting])) == {"simulator": 1}


async def test_a_deployment_that_is_deleted_ends_its_calls_and_is_forgotten(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    model: LLMModel,
) -> None:
    second = await add_deployment("second", weight=1000)
    worker = await start_worker()
    slow = await submit_as_alice("Slow [sim:latency=0.5,tokens=2]")
    await until(lambda: second.stats.in_flight == 1)
    await in_database(lambda: Deployment.objects.get().delete())
    assert by_deployment(await ended([slow])) == {"second": 1}
    assert by_deployment(await ended([await submit_as_alice("Hi [sim:tokens=2]")])) == {
        "simulator": 1
    }
    pool = worker.pools.of_model(model.pk)
    assert pool is not None

    async def is_forgotten() -> bool:
        await worker.reload_pools()
        return len(pool.deployments) == 1

    await eventually(is_forgotten)


async def test_one_that_is_deleted_while_its_tasks_are_claimed_loses_none(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add_deployment("second", weight=1000)
    worker = await start_worker()
    claim = scheduler.claim

    async def claim_late(*args: Any, **options: Any) -> scheduler.Claim:
        claimed = await claim(*args, **options)
        is_there = await in_database(Deployment.objects.exists)
        if claimed.task_ids and is_there:
            await in_database(lambda: Deployment.objects.get().delete())
            await worker.reload_pools()
        return claimed

    monkeypatch.setattr(scheduler, "claim", claim_late)
    tasks = await ended(await submit_many(submit_as_alice, 3, "Hi [sim:tokens=2]"))
    assert by_deployment(tasks) == {"simulator": 3}


async def test_each_deployment_costs_what_it_costs(
    start_worker: StartWorker,
    add_deployment: AddDeployment,
    submit_as_alice: Submit,
    model: LLMModel,
) -> None:
    await in_database(LLMModel.objects.update, input_price=0, output_price=100_000)
    prices = {"input_price": 0, "cached_input_price": 0, "output_price": 500_000}
    await add_deployment("second", weight=1000, **prices)
    await start_worker()
    [task] = await ended([await submit_as_alice("Hi [sim:tokens=3]")])
    assert task.deployment == "second"
    await in_database(settle_ended_tasks)
    entry = await in_database(LedgerEntry.objects.get)
    assert 2 * entry.money == entry.completion_tokens


# --- Requests and tokens a minute -----------------------------------------------------------------
async def test_two_workers_keep_to_the_requests_of_a_minute(
    start_worker: StartWorker,
    submit_as_alice: Submit,
    simulator: Simulator,
) -> None:
    await in_database(LLMModel.objects.update, requests_per_minute=30)
    await asyncio.gather(start_worker(), start_worker())
    task_ids = await submit_many(submit_as_alice, 50, "Hi [sim:tokens=2]")

    async def count() -> int:
        return await in_database(Task.objects.filter(status=Status.SUCCEEDED).count)

    await until_equal(count, 30)
    waiting = Task.objects.filter(pk__in=task_ids, status=Status.QUEUED)
    assert await in_database(waiting.count) == 20
    assert simulator.stats.requests == 30


async def until_equal(read: Callable[[], Awaitable[int]], expected: int) -> None:
    async def is_equal() -> bool:
        return await read() == expected

    await eventually(is_equal)


async def test_tokens_are_expected_before_and_counted_after(
    worker: Runtime, submit_as_alice: Submit, model: LLMModel, simulator: Simulator
) -> None:
    await in_database(
        lambda: LLMModel.objects.update(tokens_per_minute=1000, default_max_tokens=400)
    )
    await worker.reload_pools()
    await submit_many(submit_as_alice, 40, "Hi [sim:tokens=50]")

    async def spent() -> int:
        tasks = await in_database(lambda: list(Task.objects.filter(status=Status.SUCCEEDED)))
        return sum(task.usage["total_tokens"] for task in tasks)

    async def is_used_up() -> bool:
        return await spent() >= 900

    await eventually(is_used_up)
    pool = worker.pools.of_model(model.pk)
    assert pool is not None
    await until(lambda: not len(worker.calls) and pool.wait_seconds is not None)
    used = await spent()
    # No task that fits is left behind, and none is called that does not.
    assert 1000 - 2 * used / simulator.stats.requests < used <= 1000
