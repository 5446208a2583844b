"""Prompts of megabytes: they reach the provider whole, and take a bounded part of the memory."""

from __future__ import annotations

from uuid import UUID

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Task
from chat.models.transitions import LARGE_PROMPT_BYTES
from chat.runner.call import PROMPT_COPIES
from chat.services import retry
from chat.services.cancel import cancel_many
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until

TEXT = "[sim:latency=0.2] " + "x" * LARGE_PROMPT_BYTES


async def test_calls_wait_while_the_prompts_of_others_fill_the_memory(
    alice: User,
    submit_as_alice: Submit,
    start_worker: StartWorker,
    simulator: Simulator,
    settings: Settings,
) -> None:
    settings.WORKER_MAX_PROMPT_BYTES = 2 * PROMPT_COPIES * (len(TEXT) + 100)
    worker = await start_worker()
    task_ids = [await submit_as_alice(TEXT) for _ in range(7)]
    # Cancelled while it waits, and while it is answered.
    await until(lambda: simulator.stats.in_flight == 2)
    await in_database(cancel_many, [UUID(task_ids[1]), UUID(task_ids[-1])])
    small = await submit_as_alice("[sim:latency=0.01] Hi")
    assert (await frames_of(small, alice)).frames[-1]["type"] == "task.completed"
    ends = [(await frames_of(task_id, alice)).frames[-1]["type"] for task_id in task_ids]
    assert ends.count("task.completed") >= 5
    assert simulator.stats.max_in_flight <= 3
    await until(lambda: worker.calls.memory.prompts.reserved == 0)


async def test_a_large_prompt_reaches_the_provider_whole(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker
) -> None:
    await start_worker()
    large = await submit_as_alice("x" * LARGE_PROMPT_BYTES)
    small = await submit_as_alice("x" * 1_000)
    for task_id in (large, small):
        assert (await frames_of(task_id, alice)).frames[-1]["type"] == "task.completed"
    tasks = [await row(task_id) for task_id in (large, small)]
    sizes = [task.prompt_bytes for task in tasks]
    assert sizes[0] - sizes[1] == LARGE_PROMPT_BYTES - 1_000
    prompts = [task.usage["prompt_tokens"] for task in tasks]
    # The simulator counts what it was sent.
    assert prompts[0] > 100 * prompts[1] > 0


async def test_a_prompt_whose_row_is_deleted_before_there_is_memory(
    alice: User,
    submit_as_alice: Submit,
    start_worker: StartWorker,
    simulator: Simulator,
    settings: Settings,
) -> None:
    settings.WORKER_MAX_PROMPT_BYTES = 1
    worker = await start_worker()
    first = await submit_as_alice(TEXT)
    await until(lambda: simulator.stats.in_flight == 1)
    second = await submit_as_alice(TEXT)
    await until(lambda: len(worker.calls) == 2)
    await in_database(Task.objects.filter(pk=second).delete)
    assert (await frames_of(first, alice)).frames[-1]["type"] == "task.completed"
    await until(lambda: len(worker.calls) == 0)
    assert simulator.stats.max_in_flight == 1


async def test_large_prompts_are_retried_a_few_at_a_time(
    submit_as_alice: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MAX_BYTES", 2 * len(TEXT) + 200)
    task_ids = [UUID(await submit_as_alice(TEXT)) for _ in range(3)]
    await in_database(cancel_many, task_ids)
    assert await in_database(retry.retry_many, task_ids) == 3
    tasks = await in_database(list, Task.objects.exclude(pk__in=task_ids))
    assert [task.prompt_bytes > len(TEXT) for task in tasks] == [True] * 3
