"""Submits by API keys, past Django: the same answers, to the byte, as through Django."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connections as database_connections
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes
from aily.web.connections import connections
from aily.web.shutdown import shutdown_event
from chat.api.shown_tasks import ended_task_json
from chat.models import Deployment, LLMModel, Provider, Task
from chat.runner.runtime import Runtime
from tests.chat.conftest import eventually, until
from tests.communicators import HttpCommunicator

API = "/api/llmchat"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi, \u00e9\u4f60"}]}
#: Refused apart from the batch that has counted the request.
WRONG_SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "nothing"}},
}
#: What differs between two equal requests.
_VARYING = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z|\"position\": \d+|\"eta_seconds\": [\d.]+"
)
_VARYING_HEADERS = ("x-request-id", "ratelimit", "content-length")


@pytest.fixture
async def secret(alice: User, model: LLMModel, loop_services: None) -> AsyncIterator[str]:
    _, secret = await in_database(APIKey.create, alice, "test")
    yield secret
    await sync_to_async(database_connections.close_all)()


def client(app: Any, secret: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=30,
    )


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body without what varies; the policy's directives have no order."""
    headers = {
        name: ";".join(sorted(value.split("; "))) if "policy" in name else value
        for name, value in answer.headers.items()
        if name not in _VARYING_HEADERS
    }
    if "location" in headers:
        headers["location"] = _VARYING.sub(b"", headers["location"].encode()).decode()
    return answer.status_code, headers, _VARYING.sub(b"", answer.content)


ORDINARY: list[tuple[str, Any, dict[str, str]]] = [
    ("/request", HELLO, {}),
    ("/request", {**HELLO, "metadata": {"a": "\u00e9"}, "lane": "batch"}, {}),
    ("/request?sync=false", HELLO, {}),
    ("/request", {**HELLO, "model": "nope"}, {}),
    ("/request", {**HELLO, "conversation_id": "0198c0de-9c33-7000-8000-0123456789ab"}, {}),
    ("/request", {**HELLO, "webhook": 4711}, {}),
    ("/request", {**HELLO, "response_format": WRONG_SCHEMA}, {}),
    ("/request/stream", {**HELLO, "model": "nope"}, {}),
    ("/prompts/nope/api", {"variables": {}}, {}),
    ("/prompts/nope/stream", {"variables": {}}, {}),
]
UNUSUAL: list[tuple[str, Any, dict[str, str]]] = [
    ("/request", {}, {}),
    ("/request", {"messages": [], "modl": 1}, {}),
    ("/request", [1], {}),
    ("/request", b"{", {}),
    ("/request", b'{"messages": "\\u0000"}', {}),
    ("/request", HELLO, {"content-type": "text/plain"}),
    ("/request", HELLO, {"idempotency-key": "x" * 300}),
    ("/request", HELLO, {"authorization": "Bearer aily_no"}),
    ("/request", HELLO, {"authorization": "Basic eA=="}),
    ("/request", HELLO, {"host": "evil.example"}),
    ("/request?sync=maybe", HELLO, {}),
    ("/request?snyc=true", HELLO, {}),
    ("/request/stream?sync=true", HELLO, {}),
    ("/request/nothing", HELLO, {}),
    ("/prompts/a%20b/api", {"variables": {}}, {}),
    ("/prompts/nope/api", {"variables": 1}, {}),
]


@pytest.mark.parametrize(("path", "body", "headers"), ORDINARY + UNUSUAL)
async def test_answers_are_those_of_django(
    secret: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **headers}
    answers = []
    for app in (ASGIHandler(), routes):
        async with client(app, secret) as caller:
            answers.append(await caller.post(API + path, content=content, headers=sent))
    assert shown(answers[1]) == shown(answers[0])
    assert ("ratelimit" in answers[1].headers) is ("ratelimit" in answers[0].headers)
    assert answers[1].headers["x-request-id"]


@pytest.mark.parametrize(("path", "body", "headers"), ORDINARY)
async def test_ordinary_requests_go_past_django(
    secret: str, path: str, body: Any, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("Django was asked")

    monkeypatch.setattr(ASGIHandler, "__call__", refuse)
    async with client(routes, secret) as caller:
        answer = await caller.post(API + path, json=body, headers=headers)
    assert answer.status_code in {202, 400, 404}


async def test_each_request_is_counted_once(secret: str) -> None:
    left = []
    async with client(routes, secret) as caller:
        for body in (HELLO, {**HELLO, "model": "nope"}, {}, HELLO):
            answer = await caller.post(f"{API}/request", json=body)
            left.append(int(answer.headers["ratelimit"].split("r=")[1].split(";")[0]))
    assert left == [left[0] - number for number in range(4)]


async def test_over_the_limit_of_requests_a_minute_only_repeats_are_answered(
    secret: str, settings: Settings
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1
    async with client(routes, secret) as caller:
        headers = {"idempotency-key": "first"}
        first = await caller.post(f"{API}/request", json=HELLO, headers=headers)
        refused = await caller.post(f"{API}/request", json=HELLO)
        again = await caller.post(f"{API}/request", json=HELLO, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["task_id"] == first.json()["task_id"]
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "body",
    [
        HELLO,
        {**HELLO, "metadata": {"a": [1, "\u00e9"]}},
        {"messages": [{"role": "user", "content": "Hi [[sim:status=400]]"}]},
        {"messages": [{"role": "user", "content": "Hi [sim:status=503,times=1]"}]},
    ],
)
async def test_an_answer_that_was_waited_for_is_the_task_as_it_is_read(
    secret: str, worker: Runtime, body: dict[str, Any], settings: Settings
) -> None:
    settings.TASK_RETRY_SECONDS = 0.01
    async with client(routes, secret) as caller:
        answer = await caller.post(f"{API}/request?sync=true", json=body, timeout=20)
        read = await caller.get(answer.headers["location"])
    assert answer.status_code == 200
    assert answer.content == read.content
    assert read.json()["status"] in {"succeeded", "failed"}


ENDED: list[dict[str, Any]] = [
    {"status": "succeeded", "text": "\u00e9", "usage": {"prompt_tokens": 3, "odd": 1}},
    {"status": "succeeded", "deployment": "second", "tool_calls": [{"id": "a", "arguments": "{}"}]},
    {"status": "failed", "error": {"code": "internal", "message": "x", "more": 1}},
    {"status": "cancelled", "reasoning": "so far", "finish_reason": ""},
    {"status": "expired", "deployment": "gone"},
    {"status": "succeeded", "text": "\u00e9", "logprobs": [{"token": "\u00e9", "logprob": -0.25}]},
]


@pytest.mark.parametrize("columns", ENDED)
async def test_an_ended_task_is_shown_as_it_is_read(
    secret: str, alice: User, model: LLMModel, columns: dict[str, Any]
) -> None:
    other = await in_database(Provider.objects.create, name="other", base_url="http://127.0.0.1:9")
    await in_database(Deployment.objects.create, model=model, name="second", provider=other)
    async with client(routes, secret) as caller:
        task_id = (await caller.post(f"{API}/request", json=HELLO)).json()["task_id"]
        ended = {"attempt": 2, "finished_at": timezone.now(), "deployment": "", **columns}
        await in_database(Task.objects.filter(pk=task_id).update, **ended)
        read = await caller.get(f"{API}/tasks/{task_id}")
    assert await ended_task_json(alice.pk, task_id) == read.text
    assert await ended_task_json(alice.pk + 1, task_id) is None, "not the owner's"


async def test_an_answer_that_was_waited_for_costs_one_query(
    secret: str, worker: Runtime, queries: list[str]
) -> None:
    async with client(routes, secret) as caller:
        for _ in range(2):
            queries.clear()
            answer = await caller.post(f"{API}/request?sync=true", json=HELLO, timeout=20)
            assert answer.status_code == 200
    of_the_row = [sql for sql in queries if "LEFT JOIN chat_scene s ON" in sql]
    by_the_orm = [sql for sql in queries if 'FROM "chat_task"' in sql]
    assert (len(of_the_row), by_the_orm) == (1, [])


async def test_a_wait_that_takes_too_long_is_answered_with_the_task(
    secret: str, settings: Settings
) -> None:
    settings.SYNC_WAIT_SECONDS = 0.05
    async with client(routes, secret) as caller:
        answer = await caller.post(f"{API}/request?sync=true", json=HELLO)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.json()["status"] == "queued"


async def waiting_call(secret: str, path: str) -> asyncio.Task[httpx.Response]:
    """A call that waits for a task which no worker runs."""
    caller = client(routes, secret)
    call = asyncio.ensure_future(caller.post(API + path, json=HELLO, timeout=20))
    call.add_done_callback(lambda _: asyncio.ensure_future(caller.aclose()))

    async def is_there() -> bool:
        return await in_database(Task.objects.exists)

    await eventually(is_there)
    return call


@pytest.mark.parametrize("path", ["/request?sync=true", "/request/stream"])
async def test_a_key_revoked_meanwhile_ends_the_wait(secret: str, path: str) -> None:
    call = await waiting_call(secret, path)
    await in_database(APIKey.objects.all().revoke)
    async with asyncio.timeout(20):
        answer = await call
    if "stream" in path:
        assert (answer.status_code, b"task.completed" in answer.content) == (200, False)
    else:
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert await in_database(Task.objects.filter(status="queued").count) == 1


@pytest.mark.parametrize("path", ["/request?sync=true", "/request/stream"])
async def test_the_end_of_the_process_ends_the_wait(secret: str, path: str) -> None:
    call = await waiting_call(secret, path)
    shutdown_event().set()
    async with asyncio.timeout(20):
        answer = await call
    assert answer.status_code == (200 if "stream" in path else 202)


async def test_a_stream_whose_client_leaves_ends_and_leaves_its_place(secret: str) -> None:
    headers = [
        (b"host", b"localhost"),
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-type", b"application/json"),
    ]
    body = json.dumps(HELLO).encode()
    communicator = HttpCommunicator(routes, "POST", f"{API}/request/stream", body, headers)
    await communicator.send_input({"type": "http.request", "body": body})
    start = await communicator.receive_output()
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    places = connections()._by_user
    assert len(places) == 1
    await communicator.send_input({"type": "http.disconnect"})
    await until(lambda: not places)
    await communicator.wait()


async def test_a_user_with_too_many_connections_gets_no_stream(
    secret: str, settings: Settings
) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    call = await waiting_call(secret, "/request/stream")
    async with client(routes, secret) as caller:
        refused = await caller.post(f"{API}/request/stream", json=HELLO)
    assert (refused.status_code, refused.json()["limit"]["name"]) == (429, "max_connections")
    assert await in_database(Task.objects.count) == 1, "nothing was submitted"
    shutdown_event().set()
    await call
