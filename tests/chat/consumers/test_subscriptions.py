"""A socket's two sources of events, a user's feed and a task's follower, in each other's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from accounts.socket_consumer import CLOSE_TOO_MANY
from aily.database.backend.connection import BoundedConnection
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat import eventlog
from chat.consumers import commands, subscriptions
from chat.eventlog import Notice
from chat.eventlog.keys import log_key, user_channel
from chat.eventlog.notices import encode_notice
from chat.events import EventId, encode
from chat.models import LLMModel, Status, Task
from chat.services.follow import follower
from tests.chat.conftest import Submit, until
from tests.chat.consumers.sockets import (
    appended,
    completed,
    next_logged,
    ping,
    run_without_worker,
    started,
    submit_quietly,
    submit_slowly,
)
from tests.databases import url_of


async def test_events_of_other_tasks_go_on_while_a_submit_is_under_way(
    socket: Any, submit_as_alice: Submit, alice: User, slow_submit: asyncio.Event
) -> None:
    known_id, other_id = await submit_as_alice("Known"), await submit_as_alice("Other")
    await eventlog.aappend([appended(started(known_id), alice)])
    assert (await next_logged(socket))["task_id"] == known_id
    await submit_slowly(socket)
    # It might be the task of the submit.
    await eventlog.aappend([appended(started(other_id), alice)])
    await eventlog.aappend([appended(completed(known_id), alice)])
    assert (await next_logged(socket))["task_id"] == known_id
    await eventlog.aappend([appended(completed(other_id), alice)])
    slow_submit.set()
    frames = [await socket.receive_json_from()]
    while sum("id" in frame for frame in frames) < 2:
        frames.append(await socket.receive_json_from())
    assert "task.accepted" in [frame["type"] for frame in frames]
    logged = [(frame["task_id"], frame["id"]) for frame in frames if "id" in frame]
    assert logged == [(other_id, "1-1"), (other_id, "1-2")]


@pytest.fixture
def looks_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PLACE_SECONDS", 600)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_submit_is_accepted_before_its_first_event_is_sent(
    socket: Any,
    alice: User,
    model: LLMModel,
    slow_submit: asyncio.Event,
    looks_seldom: None,
    stream: bool,
) -> None:
    await submit_slowly(socket, stream=stream)
    task_id = str(await in_database(Task.objects.values_list("pk", flat=True).get))
    await eventlog.aappend([appended(started(task_id), alice)])
    await ping(socket)
    slow_submit.set()
    accepted = await socket.receive_json_from()
    assert (accepted["type"], accepted["task_id"]) == ("task.accepted", task_id)
    assert (await next_logged(socket))["id"] == "1-1"
    await eventlog.aappend([appended(completed(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-2"


async def test_without_text_an_event_that_comes_before_the_follower_is_fed_is_read_from_the_log(
    socket: Any,
    alice: User,
    model: LLMModel,
    looks_seldom: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_follow = asyncio.Event()
    follow = vars(subscriptions)["follow"]

    async def follow_late(*args: Any, **options: Any) -> AsyncGenerator[Any]:
        await may_follow.wait()
        async with aclosing(follow(*args, **options)) as frames:
            async for frame in frames:
                yield frame

    monkeypatch.setattr(subscriptions, "follow", follow_late)
    task_id = await submit_quietly(socket)
    await run_without_worker(task_id)
    async with eventlog.get_hub().user_feed(alice.pk, skip=lambda _: False) as feed:
        await eventlog.aappend([appended(started(task_id), alice)])
        assert await feed.next(5)
    may_follow.set()
    assert (await next_logged(socket))["id"] == "1-1"


async def test_an_event_that_waited_is_not_sent_after_a_follower_has_sent_it(
    socket: Any, submit_as_alice: Submit, alice: User, slow_submit: asyncio.Event
) -> None:
    task_id = await submit_as_alice("Hello")
    await submit_slowly(socket)
    await eventlog.aappend([appended(started(task_id), alice)])
    await ping(socket)
    await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
    assert (await next_logged(socket))["id"] == "1-1"
    await eventlog.aappend([appended(completed(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-2"
    slow_submit.set()
    while (frame := await socket.receive_json_from())["type"] != "task.accepted":
        assert frame["type"] == "task.queued"
    # The first logged frame that comes after the wait is of another task.
    other_id = await submit_as_alice("Another")
    await eventlog.aappend([appended(started(other_id), alice)])
    after = await next_logged(socket)
    assert (after["task_id"], after["id"]) == (other_id, "1-1")


async def test_an_end_that_a_follower_read_from_the_log_is_not_sent_again_when_its_notice_comes(
    socket: Any, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    redis: Any = async_redis()
    for event in (started(task_id), completed(task_id)):
        await redis.xadd(log_key(task_id), {"e": encode(event)}, event.id)
    await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
    ids = [(await next_logged(socket))["id"] for _ in range(2)]
    assert ids == ["1-1", "1-2"]
    # What the script that appends publishes in the same moment, but the network brings later.
    late = Notice(EventId(1, 2), task_id, encode(completed(task_id)))
    await redis.publish(user_channel(alice.pk), encode_notice(late))
    other_id = await submit_as_alice("Another")
    await eventlog.aappend([appended(started(other_id), alice)])
    after = await next_logged(socket)
    assert after["task_id"] == other_id


async def test_a_burst_of_news_reaches_a_socket_that_follows_none_of_it(
    socket: Any, alice: User
) -> None:
    """Events of three hundred tasks, in one turn of the socket's loop."""
    task_ids = [f"{number:08}-0000-7000-8000-000000000000" for number in range(300)]
    appends = [
        appended(make(task_id), alice) for task_id in task_ids for make in (started, completed)
    ]
    # Once a second feed of hers is entered, the socket's own is subscribed as well.
    async with eventlog.get_hub().user_feed(alice.pk, skip=lambda _: False):
        await eventlog.aappend(appends)
    got = [await socket.receive_json_from() for _ in appends]
    assert [(frame["task_id"], frame["id"]) for frame in got] == [
        (append.task_id, str(append.event_id)) for append in appends
    ]
    await async_redis().delete(*map(log_key, task_ids))


async def test_a_client_is_sent_that_events_were_missed(socket: Any, alice: User) -> None:
    async with eventlog.get_hub().user_feed(alice.pk, skip=lambda _: False):
        redis: Any = async_redis()
        # The hub's connection breaks: notices are lost until it has a new one.
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await socket.receive_json_from() == {"type": "events.missed"}


# --- Tasks without text -------------------------------------------------------------------------
@pytest.fixture
def looks_often(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.POSITION_CHECK_SECONDS = 0.1
    monkeypatch.setattr(follower, "PLACE_SECONDS", 0.1)


async def test_without_text_a_client_is_sent_the_place_the_start_and_the_end(
    socket: Any, model: LLMModel, alice: User, looks_often: None
) -> None:
    task_id = await submit_quietly(socket)
    queued = await socket.receive_json_from()
    assert (queued["type"], queued["task_id"], queued["position"]) == ("task.queued", task_id, 1)
    await run_without_worker(task_id)
    await eventlog.aappend([appended(started(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-1"
    await eventlog.aappend([appended(completed(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-2"
    await ping(socket)


@pytest.mark.parametrize("has_started", [False, True])
async def test_an_end_whose_notice_was_lost_is_found_in_the_row(
    socket: Any, model: LLMModel, alice: User, looks_often: None, has_started: bool
) -> None:
    task_id = await submit_quietly(socket)
    if has_started:
        await run_without_worker(task_id)
        await eventlog.aappend([appended(started(task_id), alice)])
        assert (await next_logged(socket))["id"] == "1-1"
    an_hour_ago = timezone.now() - timedelta(hours=1)
    end = {"status": Status.SUCCEEDED, "attempt": 1, "last_event": 2, "finished_at": an_hour_ago}
    await in_database(Task.objects.filter(pk=task_id).update, **end)
    last = await next_logged(socket)
    assert (last["type"], last["id"]) == ("task.completed", "1-2")


async def test_a_look_that_failed_is_taken_again(
    socket: Any,
    model: LLMModel,
    looks_often: None,
    database_server: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task_id = await submit_quietly(socket)
    url = url_of(database_server, connection.settings_dict["NAME"])
    with monkeypatch.context() as patch, psycopg.connect(url) as another:
        patch.setattr(BoundedConnection, "answer_seconds", 0.2)
        another.execute("LOCK TABLE chat_task IN ACCESS EXCLUSIVE MODE")
        await until(lambda: ": a server is away" in caplog.text)
        another.execute(
            "UPDATE chat_task SET status = 'succeeded', attempt = 1, last_event = 2,"
            " finished_at = now() - interval '1 hour' WHERE id = %s",
            [task_id],
        )
    last = await next_logged(socket)
    assert (last["type"], last["id"]) == ("task.completed", "1-2")


async def test_a_start_whose_notice_was_lost_is_read_from_the_log(
    socket: Any, model: LLMModel, looks_often: None
) -> None:
    task_id = await submit_quietly(socket)
    await run_without_worker(task_id)
    redis: Any = async_redis()
    await redis.xadd(log_key(task_id), {"e": encode(started(task_id))}, "1-1")
    assert (await next_logged(socket))["type"] == "task.started"


async def test_what_was_published_while_the_hub_was_disconnected_is_read_from_the_log(
    socket: Any, model: LLMModel, alice: User
) -> None:
    task_id = await submit_quietly(socket)
    redis: Any = async_redis()
    for event in (started(task_id), completed(task_id)):
        await redis.xadd(log_key(task_id), {"e": encode(event)}, event.id)
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    frames: list[Any] = []
    while len(frames) < 3:
        frame = await socket.receive_json_from()
        frames += [frame] if frame["type"] != "task.queued" else []
    assert [frame["id"] for frame in frames if "id" in frame] == ["1-1", "1-2"]
    assert "events.missed" in [frame["type"] for frame in frames]


async def test_events_beyond_the_bytes_that_may_wait_come_in_order_after_the_submit(
    socket: Any,
    submit_as_alice: Submit,
    alice: User,
    slow_submit: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_WAITING_BYTES", 0)
    task_ids = [await submit_as_alice(f"Hello {number}") for number in range(3)]
    await submit_slowly(socket)
    appends = [appended(started(task_id), alice) for task_id in task_ids]
    await eventlog.aappend(appends)
    await ping(socket)
    slow_submit.set()
    got: list[str] = []
    while len(got) < len(task_ids):
        frame = await socket.receive_json_from()
        got += [frame["task_id"]] if "id" in frame else []
    assert got == task_ids


async def test_a_socket_that_follows_too_many_tasks_is_closed(
    socket: Any, submit_as_alice: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_FOLLOWED", 1)
    for prompt in ("Hello", "Hello again"):
        task_id = await submit_as_alice(prompt)
        await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
    while (output := await socket.receive_output())["type"] == "websocket.send":
        assert json.loads(output["text"])["type"] == "task.queued"
    assert (output["type"], output["code"]) == ("websocket.close", CLOSE_TOO_MANY)


async def test_without_text_the_log_is_not_read_while_the_row_shows_nothing_new(
    socket: Any, model: LLMModel, looks_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    needs_no_replay = follower._Follower.needs_no_replay

    def note(self: Any) -> bool:
        looks.append(needs_no_replay(self))
        return looks[-1]

    monkeypatch.setattr(follower._Follower, "needs_no_replay", note)
    task_id = await submit_quietly(socket)
    await until(lambda: len(looks) > 4)
    # Not even at first: an event that came before would have reached the socket's own feed.
    assert all(looks)
    await run_without_worker(task_id)
    redis: Any = async_redis()
    await redis.xadd(log_key(task_id), {"e": encode(started(task_id))}, "1-1")
    assert (await next_logged(socket))["type"] == "task.started"


async def test_an_end_that_comes_while_a_subscribe_is_under_way_follows_what_was_before_it(
    socket: Any, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = asyncio.Event()
    check_owner = vars(commands)["check_owner"]

    async def check_slowly(*args: Any) -> None:
        await may_go_on.wait()
        await check_owner(*args)

    monkeypatch.setattr(commands, "check_owner", check_slowly)
    task_id = await submit_as_alice("Hello")
    await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
    await ping(socket)
    await eventlog.aappend([appended(started(task_id), alice)])
    await eventlog.aappend([appended(completed(task_id), alice)])
    await ping(socket)
    may_go_on.set()
    assert [(await next_logged(socket))["id"] for _ in range(2)] == ["1-1", "1-2"]
