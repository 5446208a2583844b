"""Text that nobody listens to is logged seldom, until somebody does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from accounts.models import User
from aily.redis.clients import async_redis
from chat.eventlog.keys import log_key
from chat.runner import call
from chat.runner.runtime import Runtime
from chat.services.follow import follow
from tests.chat.conftest import Submit, frames_of, until
from tests.client import TaskFrames

PROMPT = "Slowly [sim:tokens=400,tps=40]"


@pytest.fixture(autouse=True)
def _never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "UNHEARD_SECONDS", 60.0)


async def test_who_begins_to_listen_in_mid_answer_is_sent_its_text_as_it_comes(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice(PROMPT)
    await until(lambda: task_id in worker._calls and not worker._calls[task_id].log.is_heard)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    known = await async_redis().xlen(log_key(task_id))
    # Many more events than the log had, long before the minute is over.
    await until(lambda: len(frames.types) >= known + 3)
    assert not reading.done()
    assert worker._calls[task_id].log.is_heard
    reading.cancel()
    await asyncio.wait([reading])


async def test_who_begins_to_listen_after_the_first_text_of_a_new_task_misses_no_beat(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    """A submit over a socket follows its task once it is accepted: it may have begun by then."""
    task_id = await submit_as_alice(PROMPT)
    await until(lambda: task_id in worker._calls and not worker._calls[task_id].log.is_heard)
    frames: list[str] = []

    async def read() -> None:
        async with aclosing(follow(task_id, alice.pk, is_new=True)) as followed:
            async for one in followed:
                frames.append(one.type)  # noqa: PERF401 - one at a time, as they come

    reading = asyncio.create_task(read())
    await until(lambda: frames.count("task.delta") >= 5)
    reading.cancel()
    await asyncio.wait([reading])


async def test_an_answer_that_nobody_listens_to_costs_the_log_a_few_events(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Slowly [sim:tokens=60,tps=60]")
    await until(lambda: task_id in worker._calls)
    await until(lambda: task_id not in worker._calls)
    # The start, what came before that was found unheard, the rest, the end.
    assert await async_redis().xlen(log_key(task_id)) <= 4
    frames = await frames_of(task_id, alice)
    assert frames.end is not None
    assert frames.text == frames.end["result"]["text"]
