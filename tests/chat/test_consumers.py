"""The WebSocket: what its frames wait for, and its two sources of events, a user's feed and a
task's follower, put in each other's way on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone
from guardian.models import UserObjectPermission

from accounts.models import APIKey, User
from accounts.websocket import identify_websocket
from aily import cache
from aily.cache import keys
from aily.database.backend.connection import BoundedConnection
from aily.database.threads import in_database
from aily.redis.clients import async_redis, sync_redis
from aily.routing import routes as application
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED
from chat import eventlog, scheduler
from chat.consumers import commands
from chat.consumers import connection as connection_module
from chat.consumers.commands import CLOSE_TOO_MANY
from chat.eventlog import Append, Notice
from chat.eventlog.keys import log_key, user_channel
from chat.eventlog.notices import encode_notice
from chat.events import Event, EventId, TaskCompleted, TaskStarted, encode
from chat.models import LLMModel, Scene, Status, Task, Worker
from chat.services import cancel
from chat.services import submit as submitting
from chat.services.follow import follower
from chat.services.scenes import create_version, publish
from tests.chat.conftest import Submit, eventually, row, until
from tests.databases import url_of


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


async def until_cancelled(task_id: str) -> None:
    async def is_cancelled() -> bool:
        return bool((await row(task_id)).status == Status.CANCELLED)

    await eventually(is_cancelled)


@pytest.fixture
def slow_submit(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Submits of sockets are stored, but not accepted before this is set."""
    may_accept = asyncio.Event()
    submit = vars(commands)["submit"]

    async def submit_slowly(submission: Any) -> Any:
        accepted = await submit(submission)
        await may_accept.wait()
        return accepted

    monkeypatch.setattr(commands, "submit", submit_slowly)
    return may_accept


async def submit_slowly(socket: Any) -> None:
    """Returns once the task is stored."""
    count = await in_database(Task.objects.count)
    messages = [{"role": "user", "content": "Slow"}]
    await socket.send_json_to({"type": "task.submit", "messages": messages})

    async def is_stored() -> bool:
        return bool(await in_database(Task.objects.count) > count)

    await eventually(is_stored)


async def next_logged(socket: Any) -> Any:
    """The next frame with a place in the log: those of a place in the queue come at any time."""
    while "id" not in (frame := await socket.receive_json_from(timeout=5)):
        assert frame["type"] == "task.queued"
    return frame


# --- What waits for what ------------------------------------------------------------------------
async def test_nothing_waits_for_the_worker_of_a_cancelled_task(
    socket: Any, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, stuck_id = await submit_as_alice("Hello"), await submit_as_alice("Stuck")
    await run_without_worker(stuck_id)
    # REST would wait this long for a worker that is gone.
    monkeypatch.setattr(cancel, "CLOSE_WAIT_SECONDS", 3600.0)
    await socket.send_json_to({"type": "task.cancel", "task_id": stuck_id})
    await ping(socket)
    await eventlog.aappend([appended(started(task_id), alice)])
    assert (await next_logged(socket))["task_id"] == task_id
    await until_cancelled(stuck_id)


async def test_a_cancel_that_waits_for_a_row_keeps_nothing_of_its_socket_waiting(
    socket: Any, submit_as_alice: Submit, alice: User, database_server: dict[str, str]
) -> None:
    task_id, locked_id = await submit_as_alice("Hello"), await submit_as_alice("Locked")
    url = url_of(database_server, connection.settings_dict["NAME"])
    with psycopg.connect(url) as another:
        another.execute("SELECT FROM chat_task WHERE id = %s FOR UPDATE", [locked_id])
        await socket.send_json_to({"type": "task.cancel", "task_id": locked_id})
        await eventlog.aappend([appended(started(task_id), alice)])
        assert (await next_logged(socket))["task_id"] == task_id
        await ping(socket)
        await socket.send_json_to({"type": "task.subscribe", "task_id": task_id})
        assert (await next_logged(socket))["id"] == "1-1"
    last = await next_logged(socket)
    assert (last["type"], last["task_id"]) == ("task.cancelled", locked_id)


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
    frames = [await socket.receive_json_from(timeout=5)]
    while sum("id" in frame for frame in frames) < 2:
        frames.append(await socket.receive_json_from(timeout=5))
    assert "task.accepted" in [frame["type"] for frame in frames]
    logged = [(frame["task_id"], frame["id"]) for frame in frames if "id" in frame]
    assert logged == [(other_id, "1-1"), (other_id, "1-2")]


async def test_a_submit_is_accepted_before_its_first_event_is_sent(
    socket: Any, alice: User, model: LLMModel, slow_submit: asyncio.Event
) -> None:
    await submit_slowly(socket)
    task_id = str(await in_database(Task.objects.values_list("pk", flat=True).get))
    await eventlog.aappend([appended(started(task_id), alice)])
    await ping(socket)
    slow_submit.set()
    accepted = await socket.receive_json_from(timeout=5)
    assert (accepted["type"], accepted["task_id"]) == ("task.accepted", task_id)
    assert (await next_logged(socket))["id"] == "1-1"
    await eventlog.aappend([appended(completed(task_id), alice)])
    assert (await next_logged(socket))["id"] == "1-2"


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
    while (frame := await socket.receive_json_from(timeout=5))["type"] != "task.accepted":
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
    got = [await socket.receive_json_from(timeout=5) for _ in appends]
    assert [(frame["task_id"], frame["id"]) for frame in got] == [
        (append.task_id, str(append.event_id)) for append in appends
    ]
    await async_redis().delete(*map(log_key, task_ids))


async def test_a_client_is_sent_that_events_were_missed(socket: Any, alice: User) -> None:
    async with eventlog.get_hub().user_feed(alice.pk, skip=lambda _: False):
        redis: Any = async_redis()
        # The hub's connection breaks: notices are lost until it has a new one.
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await socket.receive_json_from(timeout=10) == {"type": "events.missed"}


async def test_a_key_revoked_while_a_socket_is_opened_closes_it(
    alice: User, loop_services: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = await in_database(APIKey.create, alice, "test")
    identify = identify_websocket

    def revoke_elsewhere() -> None:
        """As another process does: this one keeps its copy, and the news comes too late."""
        APIKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
        cache.unlink([keys.API_KEYS.key(key.digest)])

    async def identify_and_revoke(scope: Any, *, check: bool = False) -> Any:
        identity = await identify(scope, check=check)
        # After it was looked up, and before the socket is registered for revocations.
        await in_database(revoke_elsewhere)
        return identity

    monkeypatch.setattr(connection_module, "identify_websocket", identify_and_revoke)
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await socket.connect())[0]
    assert (await socket.receive_output())["code"] == CLOSE_UNAUTHENTICATED
    await socket.disconnect()


async def test_a_repeated_submit_does_not_cut_short_the_pause_before_a_retry(
    socket: Any, model: LLMModel
) -> None:
    frame = {
        "type": "task.submit",
        "messages": [{"role": "user", "content": "Hello"}],
        "idempotency_key": "again",
        "stream": False,
    }
    await socket.send_json_to(frame)
    task_id = (await socket.receive_json_from(timeout=5))["task_id"]
    # As if its first attempt had just failed.
    later = timezone.now() + timedelta(hours=1)
    await in_database(Task.objects.filter(pk=task_id).update, not_before=later)
    await in_database(scheduler.remove, model.pool, [task_id])
    await socket.send_json_to(frame)
    while (answer := await socket.receive_json_from(timeout=5))["type"] != "task.accepted":
        assert answer["type"] == "task.queued"
    assert answer["task_id"] == task_id
    assert await in_database(scheduler.missing, model.pool, [task_id]) == [task_id]


# --- Tasks without text -------------------------------------------------------------------------
@pytest.fixture
def looks_often(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.POSITION_CHECK_SECONDS = 0.1
    monkeypatch.setattr(follower, "PLACE_SECONDS", 0.1)


async def submit_quietly(socket: Any) -> str:
    """A task whose text the socket does not want."""
    messages = [{"role": "user", "content": "Hello"}]
    await socket.send_json_to({"type": "task.submit", "messages": messages, "stream": False})
    accepted = await socket.receive_json_from(timeout=5)
    assert accepted["type"] == "task.accepted"
    return str(accepted["task_id"])


async def test_without_text_a_client_is_sent_the_place_the_start_and_the_end(
    socket: Any, model: LLMModel, alice: User, looks_often: None
) -> None:
    task_id = await submit_quietly(socket)
    queued = await socket.receive_json_from(timeout=5)
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
        frame = await socket.receive_json_from(timeout=10)
        frames += [frame] if frame["type"] != "task.queued" else []
    assert [frame["id"] for frame in frames if "id" in frame] == ["1-1", "1-2"]
    assert "events.missed" in [frame["type"] for frame in frames]


async def test_one_socket_too_many_is_closed(socket: Any, alice: User, settings: Any) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    _, secret = await in_database(APIKey.create, alice, "other")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    other = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await other.connect())[0]
    assert (await other.receive_output())["code"] == CLOSE_TOO_MANY
    await other.disconnect()
    await ping(socket)


async def test_a_frame_over_the_limit_closes_the_socket(socket: Any, settings: Any) -> None:
    settings.WEBSOCKET_FRAME_MAX_BYTES = 1_000
    await socket.send_json_to({"type": "ping", "ref": "x" * 1_000})
    assert await socket.receive_output() == {
        "type": "websocket.close",
        "code": connection_module.CLOSE_TOO_LARGE,
    }


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


async def test_a_submit_whose_counting_finds_out_that_redis_is_away_is_refused(
    socket: Any, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = sync_redis().connection_pool

    def find_out(requesters: Sequence[Any]) -> list[None]:
        """As a count does that is the process's first command in an outage."""
        pool.circuit.failed()
        return [None] * len(requesters)

    monkeypatch.setattr(submitting, "count_requests", find_out)
    messages = [{"role": "user", "content": "Hi"}]
    await socket.send_json_to({"type": "task.submit", "messages": messages})
    answer = await socket.receive_json_from(timeout=5)
    pool.circuit.succeeded()
    assert answer["error"]["code"] == "unavailable"
    assert answer["error"]["retry_after_seconds"] >= 1
    assert not await in_database(Task.objects.exists)


async def test_an_open_socket_loses_a_permission_with_its_user(
    socket: Any, alice: User, model: LLMModel
) -> None:
    def restrict() -> UserObjectPermission:
        scene = Scene.objects.create(slug="greet", title="Greet", is_restricted=True)
        publish(create_version(scene, None, {"user_template": "Hi"}))
        use = Permission.objects.get(codename="use_scene")
        granted: UserObjectPermission = UserObjectPermission.objects.create(
            user=alice, permission=use, content_type=use.content_type, object_pk=scene.pk
        )
        return granted

    async def answer() -> dict[str, Any]:
        await socket.send_json_to({"type": "task.submit", "scene": "greet", "ref": "r"})
        while (frame := await socket.receive_json_from(timeout=20)).get("ref") != "r":
            pass
        return dict(frame)

    granted = await in_database(restrict)
    accepted = await answer()
    assert accepted["type"] == "task.accepted"
    await in_database(granted.delete)
    refused = await answer()
    assert (refused["type"], refused["error"]["code"]) == ("error", "not_found")
    # What was accepted stays theirs to read, and to stop.
    task_id = accepted["task_id"]
    await socket.send_json_to({"type": "task.cancel", "task_id": task_id})
    while (frame := await socket.receive_json_from(timeout=20))["type"] != "task.cancelled":
        pass
    assert frame["task_id"] == task_id
