"""Cancelling at any moment: the provider's connection closes, and the task stays cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.client import PATIENCE_SECONDS, ChatSocket, RestClient
from tests.waiting import eventually

#: Any other words for the same would be another prompt, and another answer.
NEVER = "[sim:latency=60]"
MIDWAY = "[sim:latency=0.1,tokens=60,tps=40,stall=middle]"
#: A provider that nobody hangs up on goes on for a minute.
DISCONNECT_SECONDS = 15.0


async def cancel(how: str, rest: RestClient, socket: ChatSocket, task_id: str) -> None:
    if how == "frame":
        await socket.send(type="task.cancel", task_id=task_id)
    else:
        answer = await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")
        assert (answer.status, answer.body["status"]) == (200, "cancelled")


async def stats_of(simulator: RestClient) -> Any:
    return (await simulator.get("/stats")).body


async def seconds_until(simulator: RestClient, counter: str) -> float:
    """Wait until one of the simulator's counters is no longer zero."""
    started = time.monotonic()

    async def count() -> int:
        return int((await stats_of(simulator))[counter])

    await eventually(count, counter, PATIENCE_SECONDS)
    return time.monotonic() - started


async def check_cancelled(rest: RestClient, task_id: str) -> Any:
    task = await rest.task(task_id)
    assert (task["status"], task["error"]) == ("cancelled", None)
    assert task["timings"]["finished_at"]
    return task


@pytest.mark.parametrize("how", ["frame", "rest"])
async def test_a_queued_task_is_cancelled_without_a_call(
    rest: RestClient, socket: ChatSocket, simulator: RestClient, how: str
) -> None:
    blocking = await socket.submit(f"Block the queue {NEVER}", model="narrow")
    await socket.got(blocking, "task.started")
    task_id = await socket.submit(f"Wait {NEVER}", model="narrow")
    assert (await rest.task(task_id))["position"] == 1
    await cancel(how, rest, socket, task_id)
    frames = await socket.ended(task_id)
    assert [frame["type"] for frame in frames.logged] == ["task.cancelled"]
    task = await check_cancelled(rest, task_id)
    assert (task["attempt"], task["result"]) == (0, None)
    await cancel("rest", rest, socket, blocking)
    await socket.ended(blocking)
    assert (await stats_of(simulator))["requests"] == 1


@pytest.mark.parametrize("how", ["frame", "rest"])
async def test_cancelling_while_waiting_for_the_first_token_closes_the_connection_within_a_second(
    rest: RestClient, socket: ChatSocket, simulator: RestClient, how: str
) -> None:
    task_id = await socket.submit(f"Cancel me early {NEVER}")
    await seconds_until(simulator, "in_flight")
    _, seconds = await asyncio.gather(
        cancel(how, rest, socket, task_id), seconds_until(simulator, "client_disconnects")
    )
    assert seconds < DISCONNECT_SECONDS
    frames = await socket.ended(task_id)
    assert frames.types[-2:] == ["task.started", "task.cancelled"]
    assert (await check_cancelled(rest, task_id))["result"] is None


@pytest.mark.parametrize("how", ["frame", "rest"])
async def test_cancelling_in_mid_stream_closes_the_connection_and_keeps_the_partial_text(
    rest: RestClient, socket: ChatSocket, simulator: RestClient, how: str
) -> None:
    task_id = await socket.submit(f"Cancel me midway by {how} {MIDWAY}")
    frames = socket.frames_of(task_id)
    await socket.until(lambda: len(frames.text) > 20)
    _, seconds = await asyncio.gather(
        cancel(how, rest, socket, task_id), seconds_until(simulator, "client_disconnects")
    )
    assert seconds < DISCONNECT_SECONDS
    await socket.ended(task_id)
    frames.check_ids()
    assert frames.types[-1] == "task.cancelled"
    result = (await check_cancelled(rest, task_id))["result"]
    assert (result["text"], result["reasoning"]) == (frames.text, frames.reasoning)
    assert result["text"]


async def test_cancelling_again_changes_nothing(rest: RestClient, socket: ChatSocket) -> None:
    task_id = await socket.submit(f"Cancel me twice {MIDWAY}")
    frames = socket.frames_of(task_id)
    await socket.until(lambda: len(frames.text) > 20)
    path = f"/api/llmchat/tasks/{task_id}/cancel"
    answers = await asyncio.gather(*(rest.post(path) for _ in range(5)))
    await socket.ended(task_id)
    answers.append(await rest.post(path))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == answers[0].body for answer in answers)
    # The socket would fail on a frame after the end.
    await socket.send(type="task.cancel", task_id=task_id)
    await socket.ping()


async def test_a_completed_task_stays_completed(rest: RestClient, socket: ChatSocket) -> None:
    task_id = await socket.submit("Too late [sim:latency=0,tokens=8,tps=0]")
    await socket.ended(task_id)
    before = await rest.task(task_id)
    answer = await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")
    assert (answer.status, answer.body) == (200, before)
    assert before["status"] == "succeeded"


async def test_cancelled_while_waiting_for_its_next_attempt_the_stream_ends_without_a_gap(
    rest: RestClient, socket: ChatSocket, simulator: RestClient
) -> None:
    task_id = await socket.submit("Try later [sim:latency=0,status=503,retry_after=60]")
    frames = await socket.got(task_id, "task.started")

    async def is_sent_back() -> bool:
        task = await rest.task(task_id)
        return (task["status"], task["attempt"]) == ("queued", 1)

    # As the row says: a notice of its place may be one from before the attempt that came late.
    await eventually(is_sent_back)
    await cancel("rest", rest, socket, task_id)
    await socket.ended(task_id)
    frames.check_ids()
    assert frames.last_id == "1-2"
    assert (await stats_of(simulator))["requests"] == 1
