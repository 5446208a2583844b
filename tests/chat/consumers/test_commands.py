"""What a socket's commands wait for, and how they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone
from guardian.models import UserObjectPermission

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from chat import eventlog, scheduler
from chat.models import LLMModel, Scene, Task
from chat.services import cancel
from chat.services.scenes import create_version, publish
from chat.services.submit import admit
from tests.chat.conftest import Submit
from tests.chat.consumers.sockets import (
    appended,
    next_logged,
    ping,
    run_without_worker,
    started,
    until_cancelled,
)
from tests.databases import url_of


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
    task_id = (await socket.receive_json_from())["task_id"]
    # As if its first attempt had just failed.
    later = timezone.now() + timedelta(hours=1)
    await in_database(Task.objects.filter(pk=task_id).update, not_before=later)
    await in_database(scheduler.remove, model.pool, [task_id])
    await socket.send_json_to(frame)
    while (answer := await socket.receive_json_from())["type"] != "task.accepted":
        assert answer["type"] == "task.queued"
    assert answer["task_id"] == task_id
    assert await in_database(scheduler.missing, model.pool, [task_id]) == [task_id]


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
        pool.circuit.record_failure()
        return [None] * len(requesters)

    monkeypatch.setattr(admit, "count_requests", find_out)
    messages = [{"role": "user", "content": "Hi"}]
    await socket.send_json_to({"type": "task.submit", "messages": messages})
    answer = await socket.receive_json_from()
    pool.circuit.record_success()
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
        while (frame := await socket.receive_json_from()).get("ref") != "r":
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
    while (frame := await socket.receive_json_from())["type"] != "task.cancelled":
        pass
    assert frame["task_id"] == task_id
