"""A task's way inside the test's own event loop: real servers, a simulated provider, workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from auditlog.context import disable_auditlog
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import close_async_clients
from chat.eventlog import get_hub
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import Simulator, running_simulator
from chat.models import LLMModel, Provider, Task, TaskKind
from chat.runner.runtime import Runtime
from chat.services.follow import follow
from chat.services.submission import CompositeRequest, EmbeddingsRequest
from chat.services.submit import Submission, submit
from tests.client import TaskFrames
from tests.waiting import PATIENCE_SECONDS
from tests.waiting import eventually as eventually
from tests.waiting import until as until

StartWorker = Callable[[], Awaitable[Runtime]]
#: Submits `prompt` for a user and gives the task's id; keywords are the request's other fields.
Submit = Callable[..., Awaitable[str]]


@pytest.fixture
async def loop_services() -> AsyncIterator[None]:
    """Ends what this loop opened: connections left to the garbage collector fail the run."""
    yield
    await get_hub().aclose()
    await _batches_ended()
    await close_async_clients()


async def _batches_ended() -> None:
    """A batch that is under way for a cancelled caller would connect again once all is closed."""
    batches = [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "").startswith("Batcher.")
    ]
    if batches:
        await asyncio.wait(batches, timeout=20)


@pytest.fixture
async def simulator(loop_services: None) -> AsyncIterator[Simulator]:
    """A provider that answers at once unless the prompt says otherwise."""
    config = SimulatorConfig(
        port=0, latency_seconds=(0, 0), tokens_per_second=0, keep_alive_seconds=0.05
    )
    async with running_simulator(config) as simulator:
        yield simulator


@pytest.fixture
def model(transactional_db: None) -> LLMModel:
    """The default model, whose provider nobody listens for."""
    with disable_auditlog():
        provider = Provider.objects.create(
            name="simulator", base_url="http://127.0.0.1:9", is_simulated=True
        )
        return LLMModel.objects.create(provider=provider, name="deepseek-flash", is_default=True)


@pytest.fixture
def embeddings_model(model: LLMModel) -> LLMModel:
    """A model of the same provider that makes vectors. Workers know it if they start later."""
    with disable_auditlog():
        return LLMModel.objects.create(
            provider=model.provider,
            name="simulated-embeddings",
            capability=TaskKind.EMBEDDINGS,
            input_price=2,
        )


@pytest.fixture
async def start_worker(
    model: LLMModel, simulator: Simulator, settings: Settings
) -> AsyncIterator[StartWorker]:
    """Starts workers of the simulator on this loop."""
    settings.WORKER_GRACE_SECONDS = 0
    workers: list[Runtime] = []
    await in_database(Provider.objects.update, base_url=simulator.url)

    async def start() -> Runtime:
        worker = Runtime()
        worker.start()
        workers.append(worker)
        await worker.ready()
        return worker

    yield start
    for worker in workers:
        await worker.aclose()


@pytest.fixture
async def worker(start_worker: StartWorker) -> Runtime:
    return await start_worker()


@pytest.fixture
def submit_as_alice(alice: User, model: LLMModel, loop_services: None) -> Submit:
    async def submit_prompt(prompt: str, **fields: Any) -> str:
        messages = [{"role": "user", "content": prompt}]
        request = CompositeRequest.model_validate({"messages": messages, **fields})
        return (await submit(Submission(owner_id=alice.pk, request=request))).task_id

    return submit_prompt


Embed = Callable[..., Awaitable[str]]


@pytest.fixture
def embed_as_alice(alice: User, embeddings_model: LLMModel, loop_services: None) -> Embed:
    """Submits texts for their vectors and gives the task's id; keywords are other fields."""

    async def submit_texts(*texts: str, key: str | None = None, **fields: Any) -> str:
        given = {"model": embeddings_model.name, "input": list(texts), **fields}
        request = EmbeddingsRequest.model_validate(given)
        accepted = await submit(Submission(alice.pk, request, idempotency_key=key))
        return accepted.task_id

    return submit_texts


async def frames_of(task_id: str, owner: User, frames: TaskFrames | None = None) -> TaskFrames:
    """Everything a reader from the start is sent, to the end; in `frames` as it comes."""
    frames = frames or TaskFrames()
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(follow(task_id, owner.pk)) as followed:
        async for frame in followed:
            frames.add(msgspec.json.decode(frame.frame))
    return frames


async def row(task_id: str) -> Task:
    return await in_database(Task.objects.select_related("model").get, pk=task_id)
