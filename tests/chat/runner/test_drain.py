"""A worker that is drained claims nothing more, and stops once its calls have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Provider, Status, Worker
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row


class Drained:
    """A worker, and whether it has said that it is drained."""

    def __init__(self) -> None:
        self.is_drained = asyncio.Event()
        self.runtime = Runtime(on_drained=self.is_drained.set)


@pytest.fixture
async def drained(model: LLMModel, simulator: Simulator) -> AsyncIterator[Drained]:
    await in_database(Provider.objects.update, base_url=simulator.url)
    worker = Drained()
    worker.runtime.start()
    await worker.runtime.ready()
    yield worker
    await worker.runtime.aclose()


async def drain(*names: str) -> str:
    out = StringIO()
    await in_database(lambda: call_command("drain", *names, stdout=out))
    return out.getvalue()


async def test_it_ends_its_calls_and_takes_no_new_ones(
    drained: Drained, alice: User, submit_as_alice: Submit
) -> None:
    running = await submit_as_alice("Slow [sim:tokens=30,tps=30]")
    await eventually(lambda: has_status(running, Status.RUNNING))
    assert (await drain(drained.runtime.worker_id)).endswith(": draining\n")
    await eventually(is_draining(drained.runtime))
    later = await submit_as_alice("Later [sim:tokens=1]")
    async with asyncio.timeout(30):
        await drained.is_drained.wait()
    assert await has_status(running, Status.SUCCEEDED)
    assert (await frames_of(running, alice)).types[-1] == "task.completed"
    assert (await row(later)).attempt == 0


async def test_another_worker_goes_on(
    drained: Drained, start_worker: StartWorker, alice: User, submit_as_alice: Submit
) -> None:
    await drain(drained.runtime.worker_id)
    async with asyncio.timeout(30):
        await drained.is_drained.wait()
    await start_worker()
    task_id = await submit_as_alice("Later [sim:tokens=1]")
    assert (await frames_of(task_id, alice)).types[-1] == "task.completed"


async def test_all_workers_of_a_host_are_drained_by_its_name(drained: Drained) -> None:
    worker = await in_database(Worker.objects.get)
    assert await drain(worker.hostname) == f"{worker}: draining\n"
    assert await drain(f"{worker.hostname}:{worker.pid}") == f"{worker}: draining\n"


def test_what_is_no_worker_is_an_error(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="no living worker 'nowhere:1'"):
        call_command("drain", "nowhere:1")


async def has_status(task_id: str, status: Status) -> bool:
    return (await row(task_id)).status == status


def is_draining(runtime: Runtime):  # type: ignore[no-untyped-def]
    async def check() -> bool:
        return runtime._is_draining

    return check
