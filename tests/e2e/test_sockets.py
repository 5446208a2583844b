"""Several sockets of one user: what each is sent, how often, and what a bad or slow one costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.client import ChatSocket, RestClient, chat_socket
from tests.e2e.conftest import Keys
from tests.e2e.long_logs import ANSWER, DELTA_BYTES, DELTAS, write_long_log
from tests.stack import Stack

LIFE_CYCLE = ["task.started", "task.completed"]


@pytest.fixture
async def others(stack: Stack, keys: Keys) -> AsyncIterator[list[ChatSocket]]:
    """Three more sockets of Alice's; with two web processes, hers are spread over both."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(chat_socket(stack.base_url, keys.alice))
            for _ in range(3)
        ]


async def test_life_cycle_events_go_to_all_sockets_and_text_to_those_that_follow(
    socket: ChatSocket, others: list[ChatSocket]
) -> None:
    follower, *watchers = others
    task_id = await socket.submit(f"Tell everybody {ANSWER}")
    await follower.subscribe(task_id)
    frames = await socket.ended(task_id)
    assert "task.delta" in frames.types
    followed = await follower.ended(task_id)
    text = [frame for frame in frames.logged if frame["type"] == "task.delta"]
    assert [frame for frame in followed.logged if frame["type"] == "task.delta"] == text
    life = [frame for frame in frames.logged if frame["type"] != "task.delta"]
    for watcher in watchers:
        assert (await watcher.ended(task_id)).logged == life


async def test_a_user_is_sent_nothing_of_anothers_tasks(
    stack: Stack, keys: Keys, socket: ChatSocket, rest: RestClient, bob_rest: RestClient
) -> None:
    async with chat_socket(stack.base_url, keys.bob) as bob:
        task_id = await socket.submit(f"Not for Bob {ANSWER}")
        await socket.ended(task_id)
        mine = await bob.submit(f"For Bob {ANSWER}")
        await bob.ended(mine)
    assert mine in bob.tasks
    assert task_id in socket.tasks
    # Each has also what its user's earlier tasks are still doing.
    for seen, owner in ((bob, bob_rest), (socket, rest)):
        # A copy: frames of other tasks may come while one is asked for.
        for seen_id in list(seen.tasks):
            assert (await owner.get(f"/api/llmchat/tasks/{seen_id}")).status == 200


async def test_no_socket_is_sent_a_frame_twice_while_many_tasks_start_and_end(
    socket: ChatSocket, others: list[ChatSocket]
) -> None:
    """The feed of a user's tasks and the followers of single ones race on every socket.

    Answers that end at once make a task's whole life fit between two turns of either; a frame
    after a task's end breaks the socket that is sent it.
    """
    prompts = [f"At once {number} [sim:latency=0,tokens=4,tps=0]" for number in range(60)]
    submitters = [socket, others[0]]
    submits = [submitters[number % 2].submit(prompt) for number, prompt in enumerate(prompts)]
    task_ids = await asyncio.gather(*submits)
    for follower in [socket, *others]:
        await asyncio.gather(*map(follower.ended, task_ids))
        await follower.ping()
        for task_id in task_ids:
            assert follower.tasks[task_id].types.count("task.started") == 1
    for number, task_id in enumerate(task_ids):
        submitters[number % 2].tasks[task_id].check_ids()


async def test_a_socket_that_follows_a_task_whose_events_it_was_sent_gets_no_frame_twice(
    socket: ChatSocket, others: list[ChatSocket], rest: RestClient
) -> None:
    joining = others[0]
    prompts = [f"Join {number} [sim:latency=0,tokens=8,tps=0,stall=middle]" for number in range(20)]
    task_ids = await asyncio.gather(*map(socket.submit, prompts))
    for task_id in task_ids:
        await joining.got(task_id, "task.started")
        await joining.send(type="task.subscribe", task_id=task_id, after="1-1")
    for task_id in task_ids:
        await joining.got(task_id, "task.delta")
    cancels = [rest.post(f"/api/llmchat/tasks/{task_id}/cancel") for task_id in task_ids]
    await asyncio.gather(*cancels)
    for task_id in task_ids:
        (await joining.ended(task_id)).check_ids()
    await joining.ping()


async def test_a_socket_that_asked_for_no_text_gets_the_life_cycle_alone(
    socket: ChatSocket, rest: RestClient
) -> None:
    task_id = await socket.submit(f"No text {ANSWER}", stream=False)
    frames = await socket.ended(task_id)
    assert frames.types == LIFE_CYCLE
    assert frames.end is not None
    assert (
        frames.end["result"] | {"output": None, "logprobs": None}
        == (await rest.task(task_id))["result"]
    )


async def test_after_unsubscribing_no_more_text_comes(socket: ChatSocket) -> None:
    task_id = await socket.submit("Leave me [sim:latency=0.05,tokens=60,tps=60]")
    frames = socket.frames_of(task_id)
    await socket.until(lambda: len(frames.text) > 20)
    await socket.send(type="task.unsubscribe", task_id=task_id)
    await socket.ping()
    text = frames.text
    await socket.ended(task_id)
    assert frames.text == text
    assert frames.types.count("task.started") == 1


async def test_subscribing_again_starts_over_from_the_cursor(socket: ChatSocket) -> None:
    task_id = await socket.submit(f"Twice {ANSWER}")
    first = await socket.ended(task_id)
    again = await socket.subscribe(task_id)
    await socket.ended(task_id)
    assert again.logged == first.logged
    later = await socket.subscribe(task_id, after=first.logged[-2]["id"])
    await socket.ended(task_id)
    assert later.logged == first.logged[-1:]


async def test_closing_a_socket_cancels_nothing(
    stack: Stack, keys: Keys, rest: RestClient, socket: ChatSocket
) -> None:
    async with chat_socket(stack.base_url, keys.alice) as leaving:
        task_id = await leaving.submit(f"Go on without me {ANSWER}")
        await socket.got(task_id, "task.started")
        leaving.connection.transport.abort()
    await socket.ended(task_id)
    task = await rest.task(task_id)
    assert (task["status"], task["attempt"]) == ("succeeded", 1)


async def test_bad_frames_are_answered_and_too_many_in_a_row_close_the_socket(
    socket: ChatSocket,
) -> None:
    for _ in range(19):
        await socket.connection.send("{")
    # A good one in between shows that the client is not broken.
    await socket.ping()
    assert len(socket.errors) == 19
    for _ in range(20):
        await socket.connection.send('{"type":"task.start"}')
    assert await socket.closed() == 4400
    assert len(socket.errors) == 39
    assert {frame["error"]["code"] for frame in socket.errors} == {"invalid_request"}


async def test_a_client_that_does_not_read_costs_little_memory_and_misses_nothing(
    stack: Stack, keys: Keys, socket: ChatSocket
) -> None:
    task_id = await socket.submit("Read me later [sim:latency=0,tokens=4,tps=0]")
    end = (await socket.ended(task_id)).end
    assert end is not None
    ids = write_long_log(stack, task_id, end)
    async with chat_socket(stack.base_url, keys.alice, max_queue=None) as slow:
        names = ("web-0", "web-1")
        before = stack.memory(*names)
        slow.connection.transport.pause_reading()
        frames = await slow.subscribe(task_id)
        # Another client reads all of it meanwhile, so there was time to send it.
        await socket.subscribe(task_id)
        await socket.ended(task_id)
        assert not frames.frames
        assert sum(stack.growth(before, *names).values()) < DELTAS * DELTA_BYTES / 2
        slow.connection.transport.resume_reading()
        await slow.ended(task_id)
        assert [frame["id"] for frame in frames.logged] == ids
