"""Requests and tokens a minute of a provider, held by two worker processes together."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.server import running_simulator
from tests.client import RestClient
from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import until

logger = logging.getLogger(__name__)

REQUESTS, TOKENS = 240, 24_000
#: More than two minutes allow, by a little.
TASKS = 2 * REQUESTS + 1
#: What a limit may be missed by.
SHARE = 0.02
#: A bucket counts for so long: see claim.lua.
MINUTE = 60.5


@pytest.fixture
def second_worker(stack: Stack) -> Iterator[None]:
    """A worker process beside the shared one."""
    first = stack.processes["worker-0"]
    second = replace(
        first,
        environment={**first.environment, "SUPERVISOR_PROCESS_NAME": "worker-1"},
        log_file=first.log_file.with_name("second-worker.log"),
    )
    second.start()
    yield
    second.stop()


@pytest.fixture
async def author(stack: Stack, keys: Keys) -> AsyncIterator[RestClient]:
    async with RestClient(stack.base_url, keys.author) as client:
        yield client


class Limited:
    """A model at a simulated provider of its own, which notes when each call came."""

    def __init__(self, journal: Path) -> None:
        self.name = f"limited-{uuid4().hex[:8]}"
        self._journal = journal

    async def make(self, author: RestClient, resources: AsyncExitStack, **limits: int) -> None:
        config = SimulatorConfig(
            port=0, latency_seconds=(0.1, 0.1), tokens_per_second=0, journal=str(self._journal)
        )
        simulator = await resources.enter_async_context(running_simulator(config))
        provider = {"name": self.name, "base_url": simulator.url, "is_simulated": True}
        await made(author, "/api/providers", provider)
        model = {"name": self.name, "provider": self.name, "max_concurrency": 20, **limits}
        await made(author, "/api/models", {**model, "default_max_tokens": 200})

    def calls(self) -> list[tuple[float, str]]:
        """When each call began, and its prompt, in their order."""
        entries = map(json.loads, self._journal.read_text().splitlines())
        return [(entry["at"], entry["prompt"]) for entry in entries if entry["event"] == "begin"]


async def made(author: RestClient, path: str, body: dict[str, Any]) -> None:
    answer = await author.post(path, body)
    assert answer.status == 201, answer


Calls = Sequence[tuple[float, int]]
"""When each began, and what it counts."""


def most_in_a_minute(calls: Calls) -> int:
    """The largest sum of any sixty seconds."""
    most = total = first = 0
    for began, size in calls:
        total += size
        while began - calls[first][0] >= 60:
            total -= calls[first][1]
            first += 1
        most = max(most, total)
    return most


async def tokens_of(rest: RestClient, task_id: str) -> int:
    """What its call has used, once it has ended."""
    end = (await rest.follow(task_id)).end
    assert end is not None
    return int(end["usage"]["total_tokens"])


def in_two_minutes(calls: Calls) -> int:
    return sum(size for began, size in calls if began - calls[0][0] < 2 * MINUTE)


def require_held(what: str, limit: int, calls: Calls) -> None:
    most, both = most_in_a_minute(calls), in_two_minutes(calls)
    logger.info("%s: limit %d, %d in a minute, %d in two", what, limit, most, both)
    assert most <= limit * (1 + SHARE)
    assert both >= 2 * limit * (1 - SHARE)


@pytest.mark.slow
@pytest.mark.usefixtures("second_worker")
async def test_two_processes_hold_the_limits_of_a_minute(
    author: RestClient, rest: RestClient, tmp_path: Path
) -> None:
    by_requests, by_tokens = Limited(tmp_path / "requests"), Limited(tmp_path / "tokens")
    async with AsyncExitStack() as resources:
        await by_requests.make(author, resources, requests_per_minute=REQUESTS)
        await by_tokens.make(author, resources, tokens_per_minute=TOKENS)
        task_ids = []
        for number in range(TASKS):
            prompt = f"{number} [sim:tokens={50 + number * 37 % 80}]"
            await rest.submit(prompt, model=by_requests.name)
            task_ids.append(await rest.submit(prompt, model=by_tokens.name))
        await until(lambda: len(by_requests.calls()) == TASKS, seconds=200)
        await until(lambda: len(by_tokens.calls()) == TASKS, seconds=200)
        used = [await tokens_of(rest, task_id) for task_id in task_ids]
    require_held("requests", REQUESTS, [(began, 1) for began, _ in by_requests.calls()])
    tokens = [(began, used[int(prompt.split()[0])]) for began, prompt in by_tokens.calls()]
    require_held("tokens", TOKENS, tokens)
