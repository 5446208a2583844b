"""A worker process: when it is ready, and what it leaves behind."""

from __future__ import annotations

import asyncio

from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Worker
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker


async def test_a_worker_is_ready_once_it_has_a_lease_and_knows_the_pools(
    model: LLMModel, simulator: Simulator
) -> None:
    worker = Runtime()
    worker.start()
    async with asyncio.timeout(20):
        await worker.ready()
    assert worker.has_lease
    assert [pool.name for pool in worker.pools] == [model.pool]
    await worker.aclose()
    stored = await in_database(Worker.objects.get, pk=worker.worker_id)
    assert stored.is_dead


async def test_a_worker_that_never_had_a_lease_closes(simulator: Simulator) -> None:
    worker = Runtime()
    await worker.aclose()
    assert not worker.has_lease
    assert not len(worker.calls)


async def test_a_worker_that_closes_leaves_the_clients_of_its_loop_to_others(
    start_worker: StartWorker,
) -> None:
    worker, _ = await start_worker(), await start_worker()
    client = async_redis()
    await worker.aclose()
    assert async_redis() is client
