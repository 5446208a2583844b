"""Workers whose provider says what a test has written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from aily.database.threads import in_database
from chat.models import Provider
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker
from tests.chat.structured.scripted import Answer, Scripted, scripted


class Play:
    """Starts a provider of some answers, and a worker that calls it."""

    def __init__(self, stack: AsyncExitStack, start_worker: StartWorker) -> None:
        self._stack = stack
        self._start_worker = start_worker
        self.workers: list[Runtime] = []

    async def __call__(self, *answers: Answer | str, mode: str = "json_object") -> Scripted:
        """`mode`: the provider's `structured_output`."""
        provider = await self._stack.enter_async_context(scripted(*answers))
        fields = {"base_url": provider.url, "structured_output": mode}
        await in_database(lambda: Provider.objects.update(**fields))
        self.workers.append(await self._start_worker())
        return provider


@pytest.fixture
async def play(start_worker: StartWorker) -> AsyncIterator[Play]:
    async with AsyncExitStack() as stack:
        yield Play(stack, start_worker)
