"""While few tasks come one worker takes them all, and the others take over when it cannot."""

from __future__ import annotations

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.models import LLMModel
from chat.runner import claims
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until

HELLO = "Hi [sim:tokens=2]"


@pytest.fixture(autouse=True)
def _no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what rings is found."""
    monkeypatch.setattr(claims, "POLL_SECONDS", 600.0)


def runs(worker: Runtime, task_id: str) -> bool:
    return task_id in worker.calls.by_task


async def test_the_tasks_of_few_callers_all_run_in_one_worker(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User
) -> None:
    workers = [await start_worker(), await start_worker()]
    # The first ring wakes both: the one that comes too late has claimed in vain by its end.
    await frames_of(await submit_as_alice(HELLO), alice)
    task_ids = [await submit_as_alice(HELLO) for _ in range(6)]
    for task_id in task_ids:
        await frames_of(task_id, alice)
    ran_in = {str((await row(task_id)).worker_id) for task_id in task_ids}
    assert ran_in < {worker.worker_id for worker in workers}


async def test_when_it_ends_another_one_is_rung(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User
) -> None:
    first = await start_worker()
    await frames_of(await submit_as_alice(HELLO), alice)
    second = await start_worker()
    await first.aclose()
    task_id = await submit_as_alice(HELLO)
    await frames_of(task_id, alice)
    assert str((await row(task_id)).worker_id) == second.worker_id


async def test_a_busy_worker_leaves_the_next_tasks_to_all(
    start_worker: StartWorker,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = await start_worker()
    await frames_of(await submit_as_alice(HELLO), alice)
    await until(lambda: next(iter(first.pools)).is_preferred)
    monkeypatch.setattr(claims, "FEW_CALLS", 0)
    await frames_of(await submit_as_alice(HELLO), alice)
    await until(lambda: not next(iter(first.pools)).is_preferred)


async def test_tasks_that_wait_for_its_calls_are_known_to_all_workers(
    start_worker: StartWorker, submit_as_alice: Submit, alice: User, model: LLMModel
) -> None:
    await in_database(LLMModel.objects.update, max_concurrency=1)
    first = await start_worker()
    running = await submit_as_alice("Hi [sim:tokens=2,latency=600]")
    await until(lambda: runs(first, running))
    second = await start_worker()
    await submit_as_alice(HELLO)
    # Calls of the second worker that end would now make it claim.
    await until(lambda: next(iter(second.pools)).has_waiting)
