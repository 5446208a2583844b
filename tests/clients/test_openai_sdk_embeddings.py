"""Embeddings through OpenAI's SDK for Python, which asks for base64 and decodes it by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from chat.llm.simulator.vectors import vector_of
from tests.client import RestClient
from tests.clients.conftest import Installation
from tests.clients.openai_schemas import check
from tests.waiting import eventually

MODEL = "simulated-embeddings"


def expected(given: Any, dimensions: int = 256) -> list[float]:
    return vector_of(given, dimensions, 0).tolist()


def test_texts_and_tokens(sdk: OpenAI) -> None:
    for given, inputs in (
        ("cat", ["cat"]),
        (["cat", "dog"], ["cat", "dog"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ):
        answer = sdk.embeddings.create(model=MODEL, input=given)
        assert [item.embedding for item in answer.data] == [expected(item) for item in inputs]
        assert [item.index for item in answer.data] == list(range(len(inputs)))
        assert (answer.object, answer.model) == ("list", MODEL)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
        assert answer._request_id


def test_both_formats_are_the_same_numbers(sdk: OpenAI) -> None:
    by_default = sdk.embeddings.create(model=MODEL, input="cat", dimensions=64, user="kim")
    as_floats = sdk.embeddings.create(
        model=MODEL, input="cat", dimensions=64, encoding_format="float"
    )
    assert by_default.data[0].embedding == as_floats.data[0].embedding == expected("cat", 64)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
async def test_answers_are_as_openais_schema_has_them(
    rest: RestClient, encoding_format: str
) -> None:
    body = {"model": MODEL, "input": ["cat", "dog"], "encoding_format": encoding_format}
    answer = await rest.post("/v1/embeddings", body)
    assert answer.status == 200
    if encoding_format == "float":  # the schema knows numbers alone
        check("CreateEmbeddingResponse", answer.body)


def test_many_large_vectors_come_whole(sdk: OpenAI) -> None:
    texts = [f"text {number}" for number in range(1_000)]
    answer = sdk.embeddings.create(model=MODEL, input=texts, dimensions=1_536)
    assert len(answer.data) == 1_000
    for number in (0, 1, 500, 999):
        assert answer.data[number].embedding == expected(texts[number], 1_536)


async def test_many_calls_at_once(async_sdk: AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(async_sdk.embeddings.create(model=MODEL, input=f"text {n}") for n in range(50))
    )
    assert [answer.data[0].embedding for answer in answers] == [
        expected(f"text {n}") for n in range(50)
    ]


def test_errors_have_their_classes(sdk: OpenAI, installation: Installation) -> None:
    create = sdk.embeddings.create
    with pytest.raises(openai.BadRequestError) as bad:
        create(model=MODEL, input=["cat", ""])
    assert bad.value.param == "input"
    with pytest.raises(openai.NotFoundError) as unknown:
        create(model="deepseek-flash", input="cat")
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError):
        create(model=MODEL, input="cat [sim:status=400]")
    with pytest.raises(openai.InternalServerError):
        create(model=MODEL, input="cat [sim:status=500]")
    carol = sdk.with_options(api_key=installation.carol)
    with pytest.raises(openai.RateLimitError) as broke:
        carol.embeddings.create(model=MODEL, input="x" * 100)
    assert broke.value.code == "insufficient_quota"
    nobody = sdk.with_options(api_key="sk-nobody")
    with pytest.raises(openai.AuthenticationError):
        nobody.embeddings.create(model=MODEL, input="cat")


async def test_a_dropped_call_is_cancelled(
    async_sdk: AsyncOpenAI, rest: RestClient, simulator: RestClient
) -> None:
    prompt = "dropped [sim:latency=60]"
    call = asyncio.ensure_future(async_sdk.embeddings.create(model=MODEL, input=prompt))

    async def is_called() -> bool:
        return bool((await simulator.get("/stats")).body["in_flight"])

    await eventually(is_called)
    call.cancel()

    async def is_cancelled() -> bool:
        newest = (await rest.get("/api/llmchat/tasks?limit=1&kind=embeddings")).body["items"][0]
        return bool(newest["status"] == "cancelled")

    await eventually(is_cancelled)


async def test_the_sdks_own_retry_finds_the_running_task(
    async_sdk: AsyncOpenAI, rest: RestClient, simulator: RestClient
) -> None:
    patient = async_sdk.with_options(max_retries=6, timeout=2.0)
    answer = await patient.embeddings.create(model=MODEL, input="slow [sim:latency=2.5]")
    assert answer.data[0].embedding == expected("slow")
    assert (await simulator.get("/stats")).body["requests"] == 1
