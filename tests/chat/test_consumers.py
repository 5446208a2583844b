"""The WebSocket's two sources of frames, a user's feed and a task's follower, put in each other's
way on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from channels.testing import WebsocketCommunicator

from accounts.models import APIKey, User
from aily.database import in_database
from aily.redis import async_redis
from aily.routing import routes as application
from chat import eventlog
from chat.eventlog import Append
from chat.events import Event, EventId, TaskCompleted, TaskStarted, encode, log_key, user_channel
from chat.models import LLMModel, Status, Task, Worker
from tests.chat.conftest import Submit


@pytest.fixture
async def socket(alice: User, loop_services: None) -> AsyncIterator[Any]:
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    accepted, _ = await socket.connect()
    assert accepted
    assert (await socket.receive_json_from())["type"] == "hello"
    yield socket
    await socket.disconnect()


def started(task_id: str) -> TaskStarted:
    return TaskStarted(task_id=task_id, id="1-1", attempt=1, model="deepseek-flash")


def completed(task_id: str) -> TaskCompleted:
    return TaskCompleted(task_id=task_id, id="1-2", result={}, usage={})


def appended(event: Event, owner: User) -> Append:
    event_id = EventId.parse(event.id)
    return Append(event.task_id, event_id, encode(event), user_channel(owner.pk), create=True)


async def ping(socket: Any) -> None:
    """Everything sent before it has been answered once the pong is there."""
    await socket.send_json_to({"type": "ping"})
    assert await socket.receive_json_from() == {"type": "pong"}


async def run_without_worker(task_id: str) -> None:
    """Make it look as if a worker had the task that will never answer a cancel."""

    def start() -> None:
        worker = Worker.objects.create(hostname="gone", pid=1, lease_until="2100-01-01T00:00Z")
        Task.objects.filter(pk=task_id).update(
            status=Status.RUNNING, attempt=1, worker_id=worker.pk, last_event=0
        )

    await in_database(start)


async def next_logged(socket: Any) -> Any:
    """The next frame with a place in the log: those that tell of the queue come as they like."""
    while "id" not in (frame := await socket.receive_json_from(timeout=5)):
        assert frame["type"] == "task.queued"
    return frame


async def test_news_that_had_to_wait_is_not_sent_after_a_follower_told_it_all(
    socket: Any, submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    stuck_id = await submit_as_alice("Stuck")
    await run_without_worker(stuck_id)
    # For a second, as no worker closes the log; the news of tasks waits behind it.
    await socket.send_json_to({"type": "task.cancel", "task_id": stuck_id})
    await ping(socket)
    await eventlog.aappend([appended(started(task_id), alice)])
    await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
    assert (await next_logged(socket))["id"] == "1-1"
    await eventlog.aappend([appended(completed(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-2"
    # The first frame that comes after the wait is of another task.
    await eventlog.aappend([appended(started(stuck_id), alice)])
    after = await next_logged(socket)
    assert (after["task_id"], after["id"]) == (stuck_id, "1-1")


async def test_an_end_that_a_follower_read_from_the_log_is_not_sent_again_when_it_is_told(
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
    late = f"{task_id}1-2 ".encode() + encode(completed(task_id))
    await redis.publish(user_channel(alice.pk), late)
    other_id = await submit_as_alice("Another")
    await eventlog.aappend([appended(started(other_id), alice)])
    after = await next_logged(socket)
    assert after["task_id"] == other_id


async def test_a_burst_of_news_reaches_a_socket_that_follows_none_of_it(
    socket: Any, alice: User
) -> None:
    """Three hundred tasks, told within one turn of the socket's loop."""
    task_ids = [f"{number:08}-0000-7000-8000-000000000000" for number in range(300)]
    appends = [
        appended(make(task_id), alice) for task_id in task_ids for make in (started, completed)
    ]
    await eventlog.aappend(appends)
    got = [await socket.receive_json_from(timeout=5) for _ in appends]
    assert [(one["task_id"], one["id"]) for one in got] == [
        (one.task_id, str(one.event_id)) for one in appends
    ]
    await async_redis().delete(*map(log_key, task_ids))


async def test_a_frame_over_the_limit_is_refused_with_its_code(socket: Any, settings: Any) -> None:
    settings.WEBSOCKET_FRAME_MAX_BYTES = 1_000
    await socket.send_json_to({"type": "ping", "ref": "x" * 1_000})
    error = msgspec.json.decode(await socket.receive_from())["error"]
    assert error["code"] == "too_large"


async def test_a_submit_over_a_limit_is_answered_with_the_limit_and_when_to_come_back(
    socket: Any, model: LLMModel, settings: Any
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1
    submit = {"type": "task.submit", "messages": [{"role": "user", "content": "Hi"}]}
    for ref in ("first", "second"):
        await socket.send_json_to({**submit, "ref": ref})
        answer = await socket.receive_json_from()
        assert answer["ref"] == ref
    error = answer["error"]
    assert error["code"] == "rate_limited"
    assert error["limit"] == {"name": "requests_per_minute", "value": 1}
    assert 1 <= error["retry_after_seconds"] <= 600
    await ping(socket)
