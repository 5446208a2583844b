"""Text without listeners is logged seldom, until there is one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from accounts.models import User
from aily.redis.clients import async_redis
from chat.eventlog import listeners
from chat.eventlog.keys import log_key
from chat.runner.runtime import Runtime
from chat.services.follow import follow
from tests.chat.conftest import Submit, frames_of, until
from tests.client import TaskFrames

PROMPT = "Slowly [sim:tokens=400,tps=40]"


@pytest.fixture(autouse=True)
def _never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "READ_DELAY_SECONDS", 60.0)


def has_no_listeners(worker: Runtime, task_id: str) -> bool:
    """Whether the worker runs the task, and knows that nothing follows its text."""
    call = worker.calls.by_task.get(task_id)
    return call is not None and not call.log.listeners.are_there


async def test_a_follower_that_begins_in_mid_answer_is_sent_its_text_as_it_comes(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice(PROMPT)
    await until(
        lambda: (
            task_id in worker.calls.by_task
            and not worker.calls.by_task[task_id].log.listeners.are_there
        )
    )
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    known = await async_redis().xlen(log_key(task_id))
    # Many more events than the log had, long before the minute is over.
    await until(lambda: len(frames.types) >= known + 3)
    assert not reading.done()
    assert worker.calls.by_task[task_id].log.listeners.are_there
    reading.cancel()
    await asyncio.wait([reading])


async def test_a_follower_that_begins_after_the_first_text_of_a_new_task_is_sent_deltas_at_once(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    """A submit over a socket follows its task once it is accepted: it may have begun by then."""
    task_id = await submit_as_alice(PROMPT)
    await until(
        lambda: (
            task_id in worker.calls.by_task
            and not worker.calls.by_task[task_id].log.listeners.are_there
        )
    )
    frames: list[str] = []

    async def read() -> None:
        async with aclosing(follow(task_id, alice.pk, is_new=True)) as followed:
            async for frame in followed:
                frames.append(frame.type)  # noqa: PERF401 - one at a time, as they come

    reading = asyncio.create_task(read())
    await until(lambda: frames.count("task.delta") >= 5)
    reading.cancel()
    await asyncio.wait([reading])


async def test_an_answer_without_listeners_costs_the_log_a_few_events(
    worker: Runtime, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Slowly [sim:tokens=60,tps=60]")
    await until(lambda: task_id in worker.calls.by_task)
    await until(lambda: task_id not in worker.calls.by_task)
    # The start, what came before it was known that there are no listeners, the rest, the end.
    assert await async_redis().xlen(log_key(task_id)) <= 10
    frames = await frames_of(task_id, alice)
    assert frames.end is not None
    assert frames.text == frames.end["result"]["text"]
