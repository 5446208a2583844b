"""Calls of tools: their ends, how they are cancelled, and what becomes of a lost connection."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from aily.database.threads import in_database
from aily.web.shutdown import shutdown_event
from chat.models import Scene, Status, Task
from chat.runner.runtime import Runtime
from tests.chat.conftest import eventually, row
from tests.chat.mcp_server.conftest import OUTPUT, publish
from tests.chat.mcp_server.rpc import (
    cancel_legacy,
    legacy,
    legacy_headers,
    message,
    modern,
)
from tests.subtests import subtested

ECHO = {"name": "echo", "arguments": {"text": "Hello"}}
LIST = {"type": "array", "items": {"type": "string"}}
BOTH = pytest.mark.parametrize("ask", [legacy, modern])


async def tasks(count: int) -> list[Task]:
    """The tasks, once there are so many."""

    async def found() -> list[Task] | None:
        rows = await in_database(lambda: list(Task.objects.order_by("id")))
        return rows if len(rows) >= count else None

    rows = await eventually(found)
    assert rows is not None
    return rows


async def has_status(task: Task, status: str) -> None:
    async def reached() -> bool:
        return (await row(str(task.pk))).status == status

    await eventually(reached)


# --- Results ------------------------------------------------------------------------------------
@BOTH
@subtested("arguments", [{}, {"text": 7}, {"text": "x", "more": 1}])
async def test_wrong_arguments_are_for_the_model_to_mend(
    http: httpx.AsyncClient, key: str, scene: Scene, ask: Any, arguments: dict[str, Any]
) -> None:
    answer = await ask(http, key, "tools/call", {"name": "echo", "arguments": arguments})
    assert answer["result"]["isError"] is True
    assert "variables" in answer["result"]["content"][0]["text"]
    assert await in_database(Task.objects.count) == 0


@BOTH
async def test_unknown_and_foreign_tools_are_alike(
    http: httpx.AsyncClient, key: str, ask: Any, model: object
) -> None:
    await in_database(partial(publish, "hidden", is_restricted=True))
    errors = [
        (await ask(http, key, "tools/call", {"name": name, "arguments": {"text": "x"}}))["error"]
        for name in ("hidden", "nothing", "x" * 128, "a b")
    ]
    assert {error["code"] for error in errors} == {-32602}
    assert errors[0]["message"].replace("hidden", "nothing") == errors[1]["message"]


@BOTH
async def test_a_limit_is_told_to_the_model(
    http: httpx.AsyncClient, key: str, scene: Scene, settings: Settings, ask: Any
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1
    await ask(http, key, "tools/call", {"name": "echo", "arguments": {}})
    answer = await ask(http, key, "tools/call", ECHO)
    assert answer["result"]["isError"] is True
    assert "Try again after" in answer["result"]["content"][0]["text"]


@BOTH
async def test_a_failed_task_is_an_error_result(
    http: httpx.AsyncClient, key: str, scene: Scene, worker: Runtime, ask: Any
) -> None:
    call = {"name": "echo", "arguments": {"text": "[sim:status=400]"}}
    result = (await ask(http, key, "tools/call", call))["result"]
    task = await row(result["_meta"]["aily/task_id"])
    assert (result["isError"], task.status) == (True, Status.FAILED)
    assert task.error is not None
    assert result["content"][0]["text"] == task.error["message"]


@BOTH
async def test_answers_with_a_schema_are_structured(
    http: httpx.AsyncClient, key: str, worker: Runtime, ask: Any
) -> None:
    await in_database(partial(publish, "object", output_schema=OUTPUT))
    await in_database(partial(publish, "list", output_schema=LIST))
    listed = {
        tool["name"]: tool for tool in (await ask(http, key, "tools/list", {}))["result"]["tools"]
    }
    is_modern = ask is modern
    assert listed["object"]["outputSchema"] == OUTPUT
    assert ("outputSchema" in listed["list"]) == is_modern
    for name, kind in (("object", dict), ("list", list)):
        call = {"name": name, "arguments": {"text": "x"}}
        result = (await ask(http, key, "tools/call", call))["result"]
        if kind is dict or is_modern:
            assert isinstance(result["structuredContent"], kind)
        else:
            assert "structuredContent" not in result
        assert result["content"][0]["text"]


@BOTH
async def test_own_tools(
    http: httpx.AsyncClient, key: str, foreign_key: str, scene: Scene, ask: Any, settings: Settings
) -> None:
    settings.MCP_WAIT_SECONDS = 0.05
    unfinished = (await ask(http, key, "tools/call", ECHO))["result"]
    task_id = unfinished["_meta"]["aily/task_id"]
    assert (unfinished["isError"], task_id in unfinished["content"][0]["text"]) == (True, True)
    arguments = {"task_id": task_id}
    for name, status in (("get_task", "queued"), ("cancel_task", "cancelled")):
        call = {"name": name, "arguments": arguments}
        foreign = (await ask(http, foreign_key, "tools/call", call))["result"]
        result = (await ask(http, key, "tools/call", call))["result"]
        assert result["structuredContent"]["status"] == status
        assert (foreign["isError"], "structuredContent" in foreign) == (True, False)
    for wrong in ({}, {"task_id": 7}, {"task_id": "x"}):
        result = (await ask(http, key, "tools/call", {"name": "get_task", "arguments": wrong}))[
            "result"
        ]
        assert result["isError"] is True


# --- Cancelling ---------------------------------------------------------------------------------
@pytest.mark.parametrize("session", ["", "0123abc"])
@pytest.mark.parametrize("request_id", [7, "7"])
async def test_a_legacy_call_is_cancelled_by_its_id(
    http: httpx.AsyncClient, key: str, scene: Scene, session: str, request_id: int | str
) -> None:
    """By Redis alone: the request that cancels may arrive in any process."""
    calling = asyncio.ensure_future(
        legacy(http, key, "tools/call", ECHO, request_id=request_id, session=session)
    )
    (task,) = await tasks(1)
    other_id: int | str = "7" if request_id == 7 else 7
    assert await cancel_legacy(http, key, other_id, session) == 202
    assert await cancel_legacy(http, key, request_id, "another") == 202
    assert (await row(str(task.pk))).status == Status.QUEUED

    async def cancelled() -> bool:
        await cancel_legacy(http, key, request_id, session)
        return (await row(str(task.pk))).status == Status.CANCELLED

    await eventually(cancelled)
    assert (await calling)["result"]["isError"] is True


async def test_nobody_cancels_the_calls_of_others(
    http: httpx.AsyncClient, key: str, foreign_key: str, scene: Scene
) -> None:
    calling = asyncio.ensure_future(legacy(http, key, "tools/call", ECHO, session="s"))
    (task,) = await tasks(1)
    await cancel_legacy(http, foreign_key, 1, "s")
    assert (await row(str(task.pk))).status == Status.QUEUED
    calling.cancel()


async def test_a_cancellation_may_be_faster_than_its_call(
    http: httpx.AsyncClient, key: str, scene: Scene
) -> None:
    await cancel_legacy(http, key, 1, "s")
    result = (await legacy(http, key, "tools/call", ECHO, session="s"))["result"]
    assert (await row(result["_meta"]["aily/task_id"])).status == Status.CANCELLED


@pytest.mark.parametrize(
    "params", [{}, {"requestId": None}, {"requestId": True}, {"requestId": []}]
)
async def test_a_cancellation_of_nothing_is_acknowledged(
    http: httpx.AsyncClient, key: str, params: dict[str, Any]
) -> None:
    answer = await http.post(
        "/mcp",
        headers=legacy_headers(key),
        json=message("notifications/cancelled", params, None),
    )
    assert answer.status_code == 202


# --- Lost connections ---------------------------------------------------------------------------
async def test_hanging_up_cancels_after_the_grace_time(
    http: httpx.AsyncClient, key: str, scene: Scene, settings: Settings
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0.2
    calling = asyncio.ensure_future(modern(http, key, "tools/call", ECHO))
    (task,) = await tasks(1)
    calling.cancel()
    await has_status(task, Status.CANCELLED)


async def test_a_legacy_call_goes_on_without_its_client(
    http: httpx.AsyncClient, key: str, scene: Scene, worker: Runtime, settings: Settings
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0.01
    call = {"name": "echo", "arguments": {"text": "[sim:latency=2]"}}
    calling = asyncio.ensure_future(legacy(http, key, "tools/call", call))
    (task,) = await tasks(1)
    calling.cancel()
    await has_status(task, Status.SUCCEEDED)


@BOTH
async def test_a_restart_ends_the_wait_and_not_the_task(
    http: httpx.AsyncClient, key: str, scene: Scene, ask: Any, settings: Settings
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0.01
    calling = asyncio.ensure_future(ask(http, key, "tools/call", ECHO))
    (task,) = await tasks(1)
    shutdown_event().set()
    result = (await calling)["result"]
    assert "get_task" in result["content"][0]["text"]
    assert (await row(str(task.pk))).status == Status.QUEUED


async def test_a_users_connections_are_bounded(
    http: httpx.AsyncClient, key: str, scene: Scene, settings: Settings
) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    calling = asyncio.ensure_future(modern(http, key, "tools/call", ECHO))
    await tasks(1)
    result = (await modern(http, key, "tools/call", ECHO))["result"]
    assert (result["isError"], await in_database(Task.objects.count)) == (True, 1)
    calling.cancel()
