"""A provider client, and simulated providers for it to call, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from chat.llm.client import ProviderClient
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import Simulator, running_simulator

StartSimulator = Callable[..., Awaitable[Simulator]]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[ProviderClient]:
    async with ProviderClient() as client:
        yield client


@pytest_asyncio.fixture
async def start_simulator() -> AsyncIterator[StartSimulator]:
    """Starts simulators that answer at once by default."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Simulator:
            defaults = {"port": 0, "latency_seconds": (0, 0), "tokens_per_second": 0}
            config = SimulatorConfig(**{**defaults, **options})
            return await stack.enter_async_context(running_simulator(config))

        yield start


@pytest_asyncio.fixture
async def simulator(start_simulator: StartSimulator) -> Simulator:
    return await start_simulator()
