"""`POST /v1/chat/completions` over real connections, with a worker and a simulated provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httpx
import pytest
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.http import event_streams
from aily.redis.clients import async_redis
from aily.redis.guarded import AsyncGuardedPool
from aily.web.shutdown import shutdown_event
from chat.llm.simulator.server import Simulator
from chat.models import Lane, Scene, Status, Task
from chat.openai.chat_completions import endpoint
from chat.openai.waiters import keys
from chat.runner.recovery import expire
from chat.runner.runtime import Runtime
from chat.services import scenes
from chat.services.cancel import cancel_row
from tests.chat.conftest import StartWorker, row
from tests.clients.openai_schemas import check
from tests.waiting import eventually

PATH = "/chat/completions"
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def asks(prompt: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "deepseek-flash", "messages": messages, **fields}


def chunks_of(text: str) -> list[Any]:
    """The chunks of a stream, and the last event if that is an error."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(event) for event in data if event != "[DONE]"]


async def task_of(answer: httpx.Response) -> Task:
    return await row(answer.headers["aily-task-id"])


async def only_task() -> Task:
    """The one task that there is, once it is there."""

    async def first() -> Task | None:
        return await in_database(lambda: Task.objects.first())

    task = await eventually(first)
    assert task is not None
    return task


async def ended(task: Task) -> Task:
    async def has_ended() -> bool:
        return (await row(str(task.pk))).status not in (Status.QUEUED, Status.RUNNING)

    await eventually(has_ended)
    return await row(str(task.pk))


# --- Requests -----------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_says_how_many_requests_are_left(
    client: httpx.AsyncClient, worker: Runtime, settings: Settings, stream: bool
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1_234
    answer = await client.post(PATH, json=asks("x", stream=stream))
    names = ("limit", "remaining", "reset")
    limit, remaining, reset = (answer.headers[f"x-ratelimit-{name}-requests"] for name in names)
    assert (limit, reset[-1]) == ("1234", "s")
    assert 0 < int(remaining) < 1234
    assert int(answer.headers["openai-processing-ms"]) >= 0


async def test_a_call_waits_in_the_lane_of_its_key(
    client: httpx.AsyncClient, worker: Runtime, alice: User
) -> None:
    _, secret = await in_database(APIKey.create, alice, "nightly", lane="batch")
    headers = {"Authorization": f"Bearer {secret}"}
    lanes = []
    for fields in ({}, {"service_tier": "priority"}):
        answer = await client.post(PATH, json=asks("x", **fields), headers=headers)
        lanes.append((await task_of(answer)).lane)
    answer = await client.post(PATH, json=asks("x"))
    lanes.append((await task_of(answer)).lane)
    assert lanes == [Lane.BATCH, Lane.INTERACTIVE, Lane.INTERACTIVE]


async def test_a_deadline_that_passes_is_no_answer(client: httpx.AsyncClient) -> None:
    headers = {"aily-deadline-seconds": "0.05"}
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x"), headers=headers))
    task = await only_task()

    async def expired() -> bool:
        await in_database(expire)
        return (await row(str(task.pk))).status == Status.EXPIRED

    await eventually(expired)
    answer = await posted
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
    assert answer.json()["error"]["code"] == "deadline_exceeded"


async def test_what_a_user_cancels_is_not_tried_again(
    client: httpx.AsyncClient, alice: User
) -> None:
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x")))
    task = await only_task()
    await cancel_row(alice.pk, task.pk)
    answer = await posted
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert answer.json()["error"]["code"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_provider_refuses_is_a_bad_request(
    client: httpx.AsyncClient, worker: Runtime, stream: bool
) -> None:
    answer = await client.post(PATH, json=asks("[sim:status=400]", stream=stream))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"]
    # The task has all that is known.
    task_error: Any = (await task_of(answer)).error
    assert task_error["message"] == error["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        ("", "application/json", 400),
        ('{"model": "\\u0000"}', "application/json", 400),
        ('{"messages": "' + "x" * 1_100_000 + '"}', "application/json", 413),
        ("{}", "text/plain", 415),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, settings: Settings, content: str, kind: str, status: int
) -> None:
    settings.PROMPT_MAX_BYTES = 1_000
    answer = await client.post(PATH, content=content, headers={"content-type": kind})
    assert answer.status_code == status
    check("ErrorResponse", answer.json())
    assert await in_database(Task.objects.count) == 0


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (
            [{"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "x"}],
            "messages[0].tool_calls",
        ),
        (
            [{"role": "tool", "tool_call_id": "call_1", "content": "x"}],
            "messages[0].tool_call_id",
        ),
    ],
)
async def test_a_call_without_its_result_is_refused(
    client: httpx.AsyncClient, messages: list[Any], param: str
) -> None:
    answer = await client.post(PATH, json={"model": "deepseek-flash", "messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert await in_database(Task.objects.count) == 0


async def test_without_redis_requests_are_refused_for_a_while(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = cast("AsyncGuardedPool", async_redis().connection_pool).circuit
    monkeypatch.setattr(circuit, "allows_call", lambda: False)
    circuit.record_failure()
    try:
        answer = await client.post(PATH, json=asks("x"))
    finally:
        circuit.record_success()
    assert answer.status_code == 503
    assert 0 < int(answer.headers["retry-after"]) <= 120
    assert answer.json()["error"]["type"] == "server_error"
    assert await in_database(Task.objects.count) == 0


async def test_a_scenes_variables_are_typed_by_its_schema(
    client: httpx.AsyncClient, worker: Runtime
) -> None:
    await in_database(make_scene)
    metadata = {"names": '["Ann", "Bob"]', "count": "2", "greeting": "7", "order": "4711"}
    body = {"model": "scene:typed", "messages": [], "metadata": metadata}
    task = await task_of(await client.post(PATH, json=body))
    assert task.messages == [{"role": "user", "content": "7 Ann and Bob, 2 of you"}]
    assert task.metadata == {"order": "4711"}
    body["metadata"] = {**metadata, "count": "two"}
    answer = await client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "variables.count")


def make_scene() -> None:
    scene = Scene.objects.create(slug="typed", title="Typed")
    schema = {
        "type": "object",
        "$defs": {"names": {"type": "array", "items": {"type": "string"}}},
        "properties": {
            "names": {"$ref": "#/$defs/names"},
            "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "greeting": {"type": "string"},
        },
    }
    template = "{{ greeting }} {{ names | join(' and ') }}, {{ count }} of you"
    fields = {"user_template": template, "variables_schema": schema}
    scenes.publish(scenes.create_version(scene, None, fields))


def publish_without_variables() -> None:
    scenes.publish(scenes.create_version(Scene.objects.get(), None, {"user_template": "Hi"}))


@pytest.mark.parametrize(
    "change", [publish_without_variables, lambda: Scene.objects.update(is_enabled=False)]
)
async def test_a_repeat_gets_its_task_though_the_scene_now_reads_it_otherwise(
    client: httpx.AsyncClient, worker: Runtime, change: Callable[[], object]
) -> None:
    await in_database(make_scene)
    metadata = {"names": "[]", "count": "2", "greeting": "7"}
    body = {"model": "scene:typed", "messages": [], "metadata": metadata}
    headers = {"Idempotency-Key": "once"}
    first = await client.post(PATH, json=body, headers=headers)
    await in_database(change)
    again = await client.post(PATH, json=body, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    other = await client.post(PATH, json={**body, "seed": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_mismatch")


# --- Streams ------------------------------------------------------------------------------------
async def test_a_stream_that_waits_is_kept_alive_and_then_answered(
    client: httpx.AsyncClient, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(endpoint, "FIRST_EVENT_SECONDS", 0.05)
    async with client.stream("POST", PATH, json=asks("x", stream=True)) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": keep-alive"
        await start_worker()
        text = "\n".join([line async for line in lines])
    assert text.rstrip().endswith("data: [DONE]")
    assert not [line for line in text.split("\n") if line.startswith(("id:", "retry:", "event:"))]
    assert chunks_of(text)[-1]["choices"][0]["finish_reason"] == "stop"


async def test_an_attempt_that_fails_before_any_text_is_not_noticed(
    client: httpx.AsyncClient, worker: Runtime, settings: Settings
) -> None:
    settings.TASK_RETRY_SECONDS = 0.01
    answer = await client.post(PATH, json=asks("[sim:status=500,times=1]", stream=True))
    chunks = chunks_of(answer.text)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    task = await task_of(answer)
    assert (task.attempt, task.text) == (2, text)


async def test_a_new_attempt_after_some_text_ends_the_stream_with_an_error(
    client: httpx.AsyncClient, worker: Runtime, settings: Settings, simulator: Simulator
) -> None:
    settings.TASK_RETRY_SECONDS = 0.01
    settings.DROPPED_REQUEST_SECONDS = 0
    prompt = "[sim:tokens=40,tps=200,disconnect,times=1]"
    answer = await client.post(PATH, json=asks(prompt, stream=True))
    *chunks, error = chunks_of(answer.text)
    assert error["error"]["code"] == "answer_interrupted"
    assert "[DONE]" not in answer.text
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    # Nobody waits for the other attempt.
    task = await ended(await task_of(answer))
    assert task.status in (Status.CANCELLED, Status.SUCCEEDED)


# --- Lost connections ---------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
async def test_a_dropped_requests_task_is_cancelled(
    client: httpx.AsyncClient, settings: Settings, stream: bool
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0.2
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x", stream=stream)))
    task = await only_task()
    posted.cancel()
    assert (await ended(task)).status == Status.CANCELLED


async def test_the_task_of_an_idempotency_key_goes_on(
    client: httpx.AsyncClient, start_worker: StartWorker, settings: Settings
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0
    headers = {"Idempotency-Key": "order-4711"}
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x"), headers=headers))
    task = await only_task()
    posted.cancel()
    await asyncio.wait([posted])
    await start_worker()
    assert (await ended(task)).status == Status.SUCCEEDED
    answer = await client.post(PATH, json=asks("x"), headers=headers)
    assert (await task_of(answer)).pk == task.pk


async def test_a_plain_request_is_answered_before_its_client_gives_up(
    client: httpx.AsyncClient, start_worker: StartWorker, settings: Settings
) -> None:
    settings.OPENAI_WAIT_SECONDS = 0.1
    # It holds for clients that go away, not for those that are asked to return.
    settings.DROPPED_REQUEST_SECONDS = 0
    answer = await client.post(PATH, json=asks("x"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["type"] == "server_error"
    settings.OPENAI_WAIT_SECONDS = 10
    await start_worker()
    again = await client.post(PATH, json=asks("x"), headers={"x-stainless-retry-count": "1"})
    assert again.status_code == 200
    assert await in_database(Task.objects.count) == 1


async def test_a_retry_gets_no_task_that_another_request_waits_for(
    client: httpx.AsyncClient, start_worker: StartWorker, settings: Settings
) -> None:
    """Of two equal requests one is dropped: only its task is found, and only once."""
    settings.DROPPED_REQUEST_SECONDS = 20
    await async_redis().delete(*keys.ALL)
    waiting, dropped = (asyncio.ensure_future(client.post(PATH, json=asks("x"))) for _ in range(2))
    await eventually(lambda: in_database(lambda: Task.objects.count() == 2))
    dropped.cancel()
    await eventually(lambda: cast("Awaitable[int]", async_redis().zcard(keys.DROPPED)))
    retry = {"x-stainless-retry-count": "1"}
    retries = [
        asyncio.ensure_future(client.post(PATH, json=asks("x"), headers=retry)) for _ in range(2)
    ]
    await eventually(lambda: in_database(lambda: Task.objects.count() == 3))
    await start_worker()
    answers = await asyncio.gather(waiting, *retries)
    assert len({answer.headers["aily-task-id"] for answer in answers}) == 3


@pytest.mark.parametrize("count", [b"\xb2", b"9" * 5_000, b"-1", b"000"])
async def test_an_odd_count_of_retries_harms_nothing(
    client: httpx.AsyncClient, worker: Runtime, count: bytes
) -> None:
    retry = [(b"x-stainless-retry-count", count)]
    assert (await client.post(PATH, json=asks("x"), headers=retry)).status_code == 200


async def test_another_key_or_body_finds_nothing(
    client: httpx.AsyncClient, settings: Settings, bob: User
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 20
    settings.OPENAI_WAIT_SECONDS = 0.1
    await client.post(PATH, json=asks("x"))
    retry = {"x-stainless-retry-count": "2"}
    _, secret = await in_database(APIKey.create, bob, "test")
    await client.post(PATH, json=asks("y"), headers=retry)
    bobs = {**retry, "Authorization": f"Bearer {secret}"}
    await client.post(PATH, json=asks("x"), headers=bobs)
    assert await in_database(Task.objects.count) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_is_revoked_ends_the_wait(
    client: httpx.AsyncClient, alice: User, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "FIRST_EVENT_SECONDS", 0.05)
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x", stream=stream)))
    await only_task()
    await in_database(lambda: APIKey.objects.filter(owner=alice).revoke())
    answer = await posted
    error = chunks_of(answer.text)[-1] if stream else answer.json()
    assert error["error"]["code"] == "invalid_api_key"
    assert stream or answer.status_code == 401


@pytest.mark.parametrize("stream", [False, True])
async def test_a_process_that_stops_has_the_request_sent_to_another(
    client: httpx.AsyncClient, start_worker: StartWorker, settings: Settings, stream: bool
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0
    posted = asyncio.ensure_future(client.post(PATH, json=asks("x", stream=stream)))
    await only_task()
    shutdown_event().set()
    answer = await posted
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    shutdown_event().clear()
    await start_worker()
    retry = {"x-stainless-retry-count": "1"}
    again = await client.post(PATH, json=asks("x", stream=stream), headers=retry)
    assert again.status_code == 200
    assert await in_database(Task.objects.count) == 1
