"""Three providers behind one model name: one throttles, one dies, and no user sees any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import mean
from typing import Any
from uuid import uuid4

import pytest

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import Simulator, running_simulator
from tests.client import RestClient
from tests.e2e.conftest import Keys
from tests.stack import Stack

CAPS = {"large": 50, "throttling": 20, "dying": 5}
SECONDS = {"large": 2.0, "throttling": 0.5, "dying": 2.0}
#: Calls at once at which each answers 429. One takes less than its account is said to allow.
TAKES = {"large": 50, "throttling": 12, "dying": 5}


@dataclass
class Routed:
    """A model with three deployments, and the simulators behind them."""

    model: str
    simulators: Mapping[str, Simulator]
    ends: Mapping[str, AsyncExitStack]
    #: Calls at once of each, every 20 ms.
    samples: dict[str, list[int]] = field(default_factory=dict)

    async def sample(self) -> None:
        while True:
            for name, simulator in self.simulators.items():
                self.samples.setdefault(name, []).append(simulator.stats.in_flight)
            await asyncio.sleep(0.02)

    async def die(self, name: str) -> None:
        await self.ends[name].aclose()


@asynccontextmanager
async def routed(author: RestClient) -> AsyncIterator[Routed]:
    """Made over REST by somebody who may."""
    model = f"routed-{uuid4().hex[:8]}"
    simulators, ends = {}, {}
    async with AsyncExitStack() as stack:
        for name in CAPS:
            config = SimulatorConfig(
                port=0,
                latency_seconds=(SECONDS[name], SECONDS[name]),
                tokens_per_second=0,
                answer_tokens=(5, 5),
                concurrency=TAKES[name],
            )
            ends[name] = await stack.enter_async_context(AsyncExitStack())
            simulators[name] = await ends[name].enter_async_context(running_simulator(config))
            provider = {"name": f"{model}-{name}", "base_url": simulators[name].url}
            await made(author, "/api/providers", {**provider, "is_simulated": True})
        first, *further = CAPS
        await made(author, "/api/models", {"name": model, **called(model, first)})
        for name in further:
            deployment = {"model": model, "name": name, **called(model, name)}
            await made(author, "/api/deployments", deployment)
        yield Routed(model, simulators, ends)


def called(model: str, name: str) -> dict[str, Any]:
    return {"provider": f"{model}-{name}", "max_concurrency": CAPS[name]}


async def made(author: RestClient, path: str, body: dict[str, Any]) -> None:
    answer = await author.post(path, body)
    assert answer.status == 201, answer


async def use_all(author: RestClient, rest: RestClient, tasks: int, share: float) -> None:
    """`share`: how much of the healthy deployment's cap is in use, at least."""
    async with routed(author) as places:
        submits = [rest.submit(f"Hi {number}", model=places.model) for number in range(tasks)]
        task_ids = await asyncio.gather(*submits)
        sampling = asyncio.ensure_future(places.sample())
        await asyncio.sleep(1)
        await places.die("dying")
        ended = await asyncio.gather(*(rest.follow(task_id) for task_id in task_ids))
        sampling.cancel()
        assert {frames.types[-1] for frames in ended} == {"task.completed"}
        large, throttling = places.simulators["large"], places.simulators["throttling"]
        assert throttling.stats.rejected_429 > 0
        assert (large.stats.rejected_429, large.stats.max_in_flight) == (0, 50)
        # Once it is full, until the last round of its calls.
        full = places.samples["large"]
        begin, end = full.index(50), len(full) - full[::-1].index(50)
        assert mean(full[begin:end]) >= share * 50
        shown = await author.get(f"/api/llmchat/tasks/{task_ids[-1]}")
        assert shown.status == 404, "another's"
        task = await rest.task(task_ids[0])
        assert task["deployment"] in {f"{places.model}-large", "throttling", "dying"}


@pytest.fixture
async def author(stack: Stack, keys: Keys) -> AsyncIterator[RestClient]:
    async with RestClient(stack.base_url, keys.author) as client:
        yield client


async def test_healthy_capacity_is_used_while_others_throttle_and_die(
    author: RestClient, rest: RestClient
) -> None:
    # A busy machine starts calls late: the figure is judged by the next test.
    await use_all(author, rest, tasks=250, share=0.5)


@pytest.mark.slow
async def test_healthy_capacity_is_used_for_a_while(author: RestClient, rest: RestClient) -> None:
    await use_all(author, rest, tasks=1000, share=0.95)
