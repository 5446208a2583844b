"""Followers that come late, or leave and come back, get the same frames as one that stayed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
import redis

from chat.eventlog.keys import log_key
from chat.events import START, EventId
from tests.client import ChatSocket, Frame, RestClient, TaskFrames, chat_socket
from tests.e2e.conftest import Keys
from tests.stack import Stack

#: A dozen and more deltas over one second.
ANSWERS = {
    "task.completed": "[sim:latency=0.1,tokens=40,tps=50]",
    "task.failed": "[sim:latency=0.05,tokens=16,tps=50,error=middle]",
    "task.cancelled": "[sim:latency=0.1,tokens=60,tps=40,stall=middle]",
}
#: How a task ends makes its last event; what is before it is resumed alike.
EACH_END = [
    "task.completed",
    *(pytest.param(end, marks=pytest.mark.slow) for end in ("task.failed", "task.cancelled")),
]
PATH = "/api/llmchat/tasks/{}/events"


async def cut_after_every_event(stack: Stack, key: str, task_id: str) -> TaskFrames:
    """Follow with a new socket for each event, and tear each down without a word."""
    seen = TaskFrames()
    while seen.end is None:
        async with chat_socket(stack.base_url, key) as socket:
            event = await next_event(socket, task_id, seen.last_id)
            # The end of a task reaches every socket of its owner, and may overtake a subscription.
            if EventId.parse(event["id"]).follows(EventId.parse(seen.last_id or str(START))):
                seen.add(event)
            socket.connection.transport.abort()
    return seen


async def next_event(socket: ChatSocket, task_id: str, after: str | None) -> Frame:
    frames = await socket.subscribe(task_id, after)
    await socket.until(lambda: bool(frames.logged))
    return frames.logged[0]


async def stream_cut_after_every_event(rest: RestClient, task_id: str) -> TaskFrames:
    seen = TaskFrames()
    while seen.end is None:
        headers = {"Last-Event-ID": seen.last_id} if seen.last_id else {}
        async with aclosing(rest.events(PATH.format(task_id), headers=headers)) as events:
            async for event in events:
                if event.id:
                    seen.add(event.data)
                    break
    return seen


async def cancel_at_half(rest: RestClient, socket: ChatSocket, task_id: str) -> None:
    frames = socket.frames_of(task_id)
    # 30 of 60 tokens: then the answer stalls.
    await socket.until(lambda: len(frames.text) > 60)
    await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")


@pytest.mark.parametrize("end", EACH_END)
async def test_cut_after_every_event_and_resumed_gives_the_frames_of_one_never_cut(
    stack: Stack, keys: Keys, rest: RestClient, socket: ChatSocket, end: str
) -> None:
    task_id = await socket.submit(f"Cut me {ANSWERS[end]}")
    readers = [
        socket.ended(task_id),
        cut_after_every_event(stack, keys.alice, task_id),
        stream_cut_after_every_event(rest, task_id),
        rest.follow(task_id),
    ]
    if end == "task.cancelled":
        await cancel_at_half(rest, socket, task_id)
    uncut, *others = await asyncio.gather(*readers)
    uncut.check_ids()
    assert len(uncut.logged) > 5
    assert uncut.types[-1] == end
    for other in others:
        assert other.logged == uncut.logged


async def resumed_everywhere(
    rest: RestClient, task_id: str, uncut: list[Frame], *, from_log: bool
) -> None:
    """Resume after each event, and compare what the client then has with the uncut answer.

    Without a log, a completed task's one event has the whole text and comes after a gap.
    """
    whole = TaskFrames()
    for frame in uncut:
        whole.add(frame)

    async def resume(seen: int) -> None:
        client = TaskFrames()
        for frame in uncut[:seen]:
            client.add(frame)
        later = await rest.follow(task_id, after=client.last_id)
        if from_log:
            assert later.logged == uncut[seen:]
        for frame in later.frames:
            client.add(frame)
        assert client.end == whole.end
        _same_answer(client, whole)

    await asyncio.gather(*map(resume, range(len(uncut) + 1)))


def _same_answer(client: TaskFrames, whole: TaskFrames) -> None:
    """A completed task's answer is in its last event as well."""
    assert client.end is not None
    if client.end["type"] == "task.completed":
        assert client.end["result"]["text"] == whole.text
    else:
        assert (client.text, client.reasoning) == (whole.text, whole.reasoning)


@pytest.fixture
def valkey(stack: Stack) -> Any:
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as client:
        yield client


@pytest.mark.parametrize("end", EACH_END)
async def test_resumed_after_the_end_gives_the_rest_while_the_log_is_there_and_once_it_is_gone(
    rest: RestClient, socket: ChatSocket, valkey: redis.Redis, end: str
) -> None:
    task_id = await socket.submit(f"Resume me {ANSWERS[end]}")
    if end == "task.cancelled":
        await cancel_at_half(rest, socket, task_id)
    uncut = (await socket.ended(task_id)).logged
    await resumed_everywhere(rest, task_id, uncut, from_log=True)
    assert valkey.delete(log_key(task_id)) == 1
    await resumed_everywhere(rest, task_id, uncut, from_log=False)


async def test_a_log_lost_in_mid_stream_is_written_again_and_costs_no_reader_a_byte(
    rest: RestClient, socket: ChatSocket, valkey: redis.Redis
) -> None:
    task_id = await socket.submit("Lose my log [sim:latency=0.1,tokens=60,tps=50]")
    frames = socket.frames_of(task_id)
    await socket.until(lambda: len(frames.logged) > 4)
    seen = TaskFrames()
    for frame in frames.logged[:3]:
        seen.add(frame)
    assert valkey.delete(log_key(task_id)) == 1
    late = await rest.follow(task_id)
    await socket.ended(task_id)
    stored = (await rest.task(task_id))["result"]
    assert "task.snapshot" in frames.types
    frames.check_ids()
    assert (frames.text, frames.reasoning) == (stored["text"], stored["reasoning"])
    assert (late.text, late.reasoning) == (stored["text"], stored["reasoning"])
    assert late.types[0] in ("task.snapshot", "task.delta")
    for frame in (await rest.follow(task_id, after=seen.last_id)).frames:
        seen.add(frame)
    assert (seen.text, seen.reasoning) == (stored["text"], stored["reasoning"])


async def test_a_log_lost_just_before_the_end_still_gives_the_partial_text(
    rest: RestClient, socket: ChatSocket, valkey: redis.Redis
) -> None:
    task_id = await socket.submit(f"Lose my log, then stop {ANSWERS['task.cancelled']}")
    frames = socket.frames_of(task_id)
    half = TaskFrames()
    await socket.until(lambda: len(frames.text) > 60)
    assert valkey.delete(log_key(task_id)) == 1
    await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")
    await socket.ended(task_id)
    for frame in (await rest.follow(task_id)).frames:
        half.add(frame)
    stored = (await rest.task(task_id))["result"]
    assert half.types[-1] == "task.cancelled"
    assert (half.text, half.reasoning) == (stored["text"], stored["reasoning"])
    assert (frames.text, frames.reasoning) == (stored["text"], stored["reasoning"])


async def test_a_bad_cursor_is_named(rest: RestClient, socket: ChatSocket) -> None:
    task_id = await socket.submit("Short [sim:latency=0,tokens=4,tps=0]")
    await socket.ended(task_id)
    answer = await rest.get(PATH.format(task_id), params={"after": "x-1"})
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "query.after")
    answer = await rest.get(PATH.format(task_id), headers={"Last-Event-ID": "1"})
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "Last-Event-ID")
    reply = await socket.ask(type="task.subscribe", task_id=task_id, after="1-x")
    assert (reply["error"]["code"], reply["error"]["field"]) == ("invalid_request", "after")
