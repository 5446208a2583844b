"""`POST /v1/embeddings`: what it takes, what it answers, and what becomes of its tasks."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat.llm.simulator.server import Simulator
from chat.llm.simulator.vectors import vector_of
from chat.models import Budget, LLMModel, Task, TaskVectors
from chat.openai import embeddings
from chat.runner import results
from chat.services.follow import follower
from tests.chat.api.conftest import api_of
from tests.chat.conftest import StartWorker
from tests.subtests import subtested

MODEL = "simulated-embeddings"
TEXTS = ["the cat sat", "on the mat"]


async def post(client: httpx.AsyncClient, given: Any, **fields: Any) -> httpx.Response:
    return await client.post("/embeddings", json={"model": MODEL, "input": given, **fields})


def vectors_in(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"object", "data", "model", "usage"}
    assert (body["object"], body["model"]) == ("list", MODEL)
    assert body["usage"].keys() == {"prompt_tokens", "total_tokens"}
    for index, item in enumerate(body["data"]):
        assert item.keys() == {"object", "index", "embedding"}
        assert (item["object"], item["index"]) == ("embedding", index)
    return [_numbers(item["embedding"]) for item in body["data"]]


def _numbers(vector: Any) -> list[float]:
    if isinstance(vector, list):
        return vector
    data = base64.b64decode(vector, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def expected(given: Any, dimensions: int = 256) -> list[float]:
    return vector_of(given, dimensions, 0).tolist()


# --- Answers ------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
@pytest.mark.parametrize("sent_bytes", [results.MAX_SENT_VECTOR_BYTES, 0])
async def test_vectors_come_in_the_order_of_the_inputs(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    encoding_format: str | None,
    sent_bytes: int,
) -> None:
    """Small ones with the end of the task, large ones from their table, in several parts."""
    monkeypatch.setattr(results, "MAX_SENT_VECTOR_BYTES", sent_bytes)
    monkeypatch.setattr(embeddings, "PART_BYTES", 3000)
    await start_worker()
    texts = [f"text {number}" for number in range(7)]
    answer = await post(alice_v1, texts, encoding_format=encoding_format)
    assert vectors_in(answer) == [expected(text) for text in texts]
    is_text = [isinstance(item["embedding"], str) for item in answer.json()["data"]]
    assert set(is_text) == {encoding_format == "base64"}
    assert answer.json()["usage"]["prompt_tokens"] > 0
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    task = await in_database(Task.objects.get)
    assert answer.headers["aily-task-id"] == str(task.pk)


@pytest.mark.parametrize(
    ("given", "count"),
    [("cat", 1), (["cat", "dog"], 2), ([11, 12], 1), ([[11, 12], [13]], 2), ("🚀 猫", 1)],
)
async def test_texts_and_tokens(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    given: Any,
    count: int,
) -> None:
    await start_worker()
    own = {"lane": "batch", "metadata": {"order": "4711"}}
    fields = {"dimensions": 9, "user": "kim", "input_type": "query", "unknown": [1], **own}
    vectors = vectors_in(await post(alice_v1, given, **fields))
    inputs = given if count > 1 else [given]
    assert vectors == [expected(item, 9) for item in inputs]
    task = await in_database(Task.objects.get)
    sent = {"input": given, "dimensions": 9, "user": "kim", "input_type": "query"}
    assert (task.params, task.lane, task.metadata) == (sent, 2, own["metadata"])


async def test_the_lane_is_named_in_a_header(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel, start_worker: StartWorker
) -> None:
    await start_worker()
    for lane in ("interactive", "batch"):
        body = {"model": MODEL, "input": "a"}
        await alice_v1.post("/embeddings", json=body, headers={"aily-lane": lane})
    tasks = Task.objects.order_by("id")
    lanes = await in_database(lambda: list(tasks.values_list("lane", flat=True)))
    assert lanes == [0, 2]


# --- Bad input ----------------------------------------------------------------------------------
_BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "input", ""),
    ({"input": ""}, "input", "must not be empty"),
    ({"input": []}, "input", "must not be empty"),
    ({"input": [""]}, "input", "empty text"),
    ({"input": ["a", ""]}, "input", "empty text: 1"),
    ({"input": [[]]}, "input", "empty list of tokens"),
    ({"input": [[1], []]}, "input", "empty list of tokens: 1"),
    ({"input": 7}, "input", "must be a text"),
    ({"input": {"text": "a"}}, "input", "must be a text"),
    ({"input": ["a", 1]}, "input", "must be a text"),
    ({"input": ["a", None]}, "input", "must be a text"),
    ({"input": [[1, "a"]]}, "input", "must be a text"),
    ({"input": [[1], 2]}, "input", "must be a text"),
    ({"input": [True]}, "input", "must be a text"),
    ({"input": [1.5]}, "input", "must be a text"),
    ({"input": [[[1]]]}, "input", "must be a text"),
    ({"input": [-1]}, "input", "from 0 to"),
    ({"input": [2**31]}, "input", "from 0 to"),
    ({"input": ["a"] * 2049}, "input", "2048 inputs"),
    ({"input": "a", "dimensions": 0}, "dimensions", ""),
    ({"input": "a", "dimensions": "256"}, "dimensions", ""),
    ({"input": "a", "dimensions": 100_000}, "dimensions", ""),
    ({"input": "a", "dimensions": 1.5}, "dimensions", ""),
    ({"input": ["a"] * 2048, "dimensions": 4096}, "dimensions", "at most 1024 inputs"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format", "float and base64"),
    ({"input": "a", "encoding_format": 1}, "encoding_format", ""),
    ({"input": "a", "user": 7}, "user", ""),
    ({"input": "a", "user": ""}, "user", ""),
    ({"input": "a", "model": None}, "model", ""),
    ({"input": "a", "model": 3}, "model", ""),
    ({"input": "a\0"}, "input", "U+0000"),
]


@subtested(("fields", "param", "message"), _BAD)
async def test_bad_input_is_named_and_stores_nothing(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    fields: dict[str, Any],
    param: str,
    message: str,
) -> None:
    answer = await alice_v1.post("/embeddings", json={"model": MODEL, **fields})
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert (error["type"], error["param"] or "") == ("invalid_request_error", param)
    assert message in error["message"]
    assert not await in_database(Task.objects.exists)


async def test_a_body_may_be_as_large_as_its_input(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel, settings: Settings
) -> None:
    settings.REQUEST_MAX_BYTES = 100_000
    settings.EMBEDDINGS_MAX_INPUT_BYTES = 150_000
    for size, status in ((140_000, 404), (160_000, 400), (250_000, 413)):
        body = {"model": "nothing", "input": "x" * size}
        answer = await alice_v1.post("/embeddings", json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


async def test_more_bytes_than_allowed_are_refused(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel, settings: Settings
) -> None:
    settings.EMBEDDINGS_MAX_INPUT_BYTES = 20
    for given in ("x" * 19, ["x"] * 6, [1000] * 5):
        answer = await post(alice_v1, given)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "input"
        assert "20 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["nothing", "deepseek-flash", "scene:summarize"])
async def test_only_models_of_embeddings_are_known(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel, name: str
) -> None:
    answer = await alice_v1.post("/embeddings", json={"model": name, "input": "a"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")


async def test_a_model_of_embeddings_answers_no_chat(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    answer = await alice_v1.post("/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (404, "model")
    assert "makes embeddings" in error["message"]
    assert not await in_database(Task.objects.exists)


async def test_a_key_is_needed(v1: Any, embeddings_model: LLMModel) -> None:
    answer = await post(v1(None), "a")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


# --- Ends without vectors -----------------------------------------------------------------------
async def test_a_failed_task_is_an_error(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    settings: Settings,
) -> None:
    settings.TASK_MAX_FAILURES = 1
    await start_worker()
    for directive, status in (("status=400", 400), ("status=429", 503), ("status=500", 502)):
        answer = await post(alice_v1, f"a [sim:{directive}]")
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"]
        assert answer.headers["aily-task-id"]


async def test_more_vectors_than_are_stored_are_the_callers_error(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    settings: Settings,
) -> None:
    settings.EMBEDDINGS_MAX_RESULT_BYTES = 1024
    await start_worker()
    vectors_in(await post(alice_v1, "a"))
    answer = await post(alice_v1, ["a", "b"])
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "result_too_large", "input")
    assert "fewer" in error["message"]


async def test_a_budget_refuses_what_does_not_fit(
    alice_v1: httpx.AsyncClient, embeddings_model: LLMModel, alice: User
) -> None:
    await in_database(Budget.objects.create, user=alice, name="b", period="day", limit_tokens=10)
    answer = await post(alice_v1, "x" * 100)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"


# --- Repeats ------------------------------------------------------------------------------------
async def test_a_repeated_request_gets_the_same_vectors(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "CLOSE_SECONDS", 0.1)
    await start_worker()
    headers = {"Idempotency-Key": "k1"}
    body = {"model": MODEL, "input": TEXTS, "encoding_format": "base64"}
    first = await alice_v1.post("/embeddings", json=body, headers=headers)
    again = await alice_v1.post("/embeddings", json=body, headers=headers)
    assert vectors_in(first) == vectors_in(again)
    assert simulator.stats.requests == 1
    for field in ({"input": "x"}, {"encoding_format": "float"}):
        other = await alice_v1.post("/embeddings", json={**body, **field}, headers=headers)
        assert other.status_code == 409
    # The log is gone first, then the vectors; the task still stands for the key.
    await async_redis().flushdb()
    assert vectors_in(await alice_v1.post("/embeddings", json=body, headers=headers))
    await in_database(TaskVectors.objects.all().delete)
    gone = await alice_v1.post("/embeddings", json=body, headers=headers)
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "result_deleted")


# --- Elsewhere ----------------------------------------------------------------------------------
async def test_rest_shows_the_task(
    alice_v1: httpx.AsyncClient,
    embeddings_model: LLMModel,
    start_worker: StartWorker,
    alice: User,
) -> None:
    await start_worker()
    api = await in_database(api_of, alice)
    answer = await post(alice_v1, TEXTS, dimensions=4)
    task_id = answer.headers["aily-task-id"]
    task = (await api.get(f"/api/llmchat/tasks/{task_id}")).json()
    assert task["kind"] == "embeddings"
    assert task["result"]["dimensions"] == 4
    assert [_numbers(vector) for vector in task["result"]["embeddings"]] == vectors_in(answer)
    for kind, count in (("embeddings", 1), ("chat", 0)):
        listed = (await api.get(f"/api/llmchat/tasks?kind={kind}")).json()
        assert listed["count"] == count
    await in_database(TaskVectors.objects.all().delete)
    task = (await api.get(f"/api/llmchat/tasks/{task_id}")).json()
    assert task["result"] == {"dimensions": None, "embeddings": None}
    # Of the thread on which the test client runs what is synchronous.
    await sync_to_async(connections.close_all)()
