"""Calls for embeddings: what is sent, and what is read from vendors of all kinds."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import math
import struct
from typing import Any

import pytest

from chat.llm.client import ProviderClient
from chat.llm.embeddings import TEXT_BYTES_PER_BYTE, max_response_bytes
from chat.llm.errors import (
    AnswerTooLargeError,
    EmptyAnswerError,
    FirstTokenTimeoutError,
    InvalidResponseError,
    ProviderError,
    RateLimitError,
    ResultTooLargeError,
    TruncatedError,
)
from chat.llm.simulator.server import Simulator
from chat.llm.types import Embeddings, EmbeddingsRequest, TimeLimits, Upstream
from chat.vectors import Vectors, little_endian
from tests.chat.llm.calls import RawProvider, raw_provider, response, upstream
from tests.chat.llm.conftest import StartSimulator
from tests.chat.llm.recorder import running_recorder
from tests.waiting import until

MODEL = "simulated-embeddings"
MAX_BYTES = 1_000_000
#: Numbers that a 32-bit float holds exactly.
FIRST, SECOND = [0.5, -0.25], [1.0, 2.0]


async def embed(
    client: ProviderClient,
    to: Upstream | str,
    texts: Any = ("one", "two"),
    limits: TimeLimits | None = None,
    max_bytes: int = MAX_BYTES,
    **params: Any,
) -> Embeddings:
    request = EmbeddingsRequest(MODEL, {"input": list(texts), **params}, user_id="u7")
    where = upstream(to) if isinstance(to, str) else to
    return await client.embed(where, request, len(texts), limits or TimeLimits(), max_bytes)


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def body(*items: Any, **fields: Any) -> bytes:
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return json.dumps({"object": "list", "data": items, "usage": usage, **fields}).encode()


def item(vector: Any, **fields: Any) -> dict[str, Any]:
    return {"object": "embedding", "embedding": vector, **fields}


def framed(content: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(content) + content


def as_json(content: bytes) -> bytes:
    return response(content, kind="application/json")


def as_numbers(vectors: Vectors) -> list[list[float]]:
    size = vectors.bytes_each
    starts = range(0, len(vectors.floats), size)
    return [little_endian(vectors.floats[start : start + size]).tolist() for start in starts]


# --- The simulator ------------------------------------------------------------------------------
async def test_vectors_come_in_the_order_of_the_inputs(
    client: ProviderClient, simulator: Simulator
) -> None:
    both = await embed(client, simulator.url)
    again = await embed(client, simulator.url)
    [second] = as_numbers((await embed(client, simulator.url, ["two"])).vectors)
    assert both.vectors == again.vectors
    assert as_numbers(both.vectors)[1] == second
    assert (both.vectors.count, both.vectors.dimensions) == (2, 256)
    assert math.isclose(sum(number * number for number in second), 1, abs_tol=1e-5)
    assert both.usage.prompt_tokens == both.usage.total_tokens > 0
    assert both.request_id


async def test_texts_with_words_in_common_are_similar(
    client: ProviderClient, simulator: Simulator
) -> None:
    texts = ["the cat sat on the mat", "a cat on a mat", "prices of rented houses rise"]
    first, near, far = as_numbers((await embed(client, simulator.url, texts)).vectors)

    def similarity(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert similarity(first, near) > 0.3 > similarity(first, far)


async def test_dimensions_and_tokens_are_passed_on(
    client: ProviderClient, simulator: Simulator
) -> None:
    answer = await embed(client, simulator.url, [[1, 2, 3], [4]], dimensions=7)
    assert (answer.vectors.count, answer.vectors.dimensions) == (2, 7)
    assert answer.usage.prompt_tokens == 4


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("status=429,retry_after=3", RateLimitError),
        ("status=503", ProviderError),
        ("disconnect", ProviderError),
        ("truncate", InvalidResponseError),
        ("error=first", ProviderError),
        ("empty", EmptyAnswerError),
    ],
)
async def test_faults_are_told_apart(
    client: ProviderClient, simulator: Simulator, directive: str, error: type[ProviderError]
) -> None:
    with pytest.raises(error) as raised:
        await embed(client, simulator.url, [f"x [sim:{directive}]"])
    if error is RateLimitError:
        assert raised.value.retry_after_seconds == 3


async def test_without_usage_there_are_no_counts(
    client: ProviderClient, simulator: Simulator
) -> None:
    answer = await embed(client, simulator.url, ["x [sim:usage=none]"])
    assert answer.usage.total_tokens == 0


async def test_blank_lines_do_not_keep_a_call_alive(
    client: ProviderClient, start_simulator: StartSimulator
) -> None:
    simulator = await start_simulator(keep_alive_seconds=0.01)
    limits = TimeLimits(first_token_seconds=0.2)
    with pytest.raises(FirstTokenTimeoutError):
        await embed(client, simulator.url, ["x [sim:stall=first]"], limits)


async def test_a_cancelled_call_closes_its_connection(
    client: ProviderClient, simulator: Simulator
) -> None:
    call = asyncio.ensure_future(embed(client, simulator.url, ["x [sim:latency=60]"]))
    await until(lambda: simulator.stats.in_flight == 1)
    call.cancel()
    await until(lambda: simulator.stats.client_disconnects == 1)
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_connection_is_used_again(client: ProviderClient) -> None:
    async with raw_provider(framed(body(item(packed(*FIRST)))), end="again") as provider:
        for _ in range(3):
            await embed(client, provider.url, ["one"])
        assert (provider.connections, len(provider.requests)) == (1, 3)


async def test_a_connection_that_was_closed_is_replaced(client: ProviderClient) -> None:
    async with raw_provider(framed(body(item(packed(*FIRST))))) as provider:
        for _ in range(2):
            await embed(client, provider.url, ["one"])
        assert provider.connections == 2


# --- What is sent -------------------------------------------------------------------------------
async def test_base64_is_asked_for_and_fields_are_renamed(client: ProviderClient) -> None:
    async with running_recorder() as recorder:
        recorder.response = framed(body(item(packed(*FIRST))))
        to = upstream(recorder.url)
        await embed(client, to, ["one"], dimensions=2, encoding_format="float")
        assert recorder.last.line == "POST /embeddings HTTP/1.1"
        assert recorder.last.header("accept") == "application/json"
        expected = {"model": MODEL, "input": ["one"], "encoding_format": "base64", "dimensions": 2}
        assert recorder.last.body == expected
        fields = (("encoding_format", None), ("dimensions", "output_dimension"))
        named = Upstream(recorder.url, None, "voyage", request_fields=fields)
        await embed(client, named, ["one"], dimensions=2, user="kim")
        expected = {"model": MODEL, "input": ["one"], "output_dimension": 2, "user": "u7-kim"}
        assert recorder.last.body == expected


# --- What is read -------------------------------------------------------------------------------
_ANSWERS = {
    "base64": body(item(packed(*FIRST), index=0), item(packed(*SECOND), index=1)),
    "numbers": body(item(FIRST, index=0), item(SECOND, index=1)),
    "whole numbers": body(item(FIRST, index=0), item([1, 2], index=1)),
    "another order": body(item(SECOND, index=1), item(FIRST, index=0)),
    "no index": body(item(FIRST), item(SECOND)),
    "an index as text": body(item(SECOND, index="1"), item(packed(*FIRST), index="0")),
    "escaped slashes": body(item(packed(*FIRST)), item(packed(*SECOND))).replace(b"/", b"\\/"),
    "counts as text": body(item(FIRST), item(SECOND), usage={"prompt_tokens": "4"}),
    "a list of lists": json.dumps(
        {"embeddings": [FIRST, SECOND], "usage": {"prompt_tokens": 4}}
    ).encode(),
    "each of index 0": body(item(FIRST, index=0), item(SECOND, index=0)),
    "the sum of tokens alone": body(item(FIRST), item(SECOND), usage={"total_tokens": 4}),
    "unknown fields": body(item(FIRST, text_type="x"), item(SECOND), id="1", meta={"a": [1]}),
}


@pytest.mark.parametrize("form", _ANSWERS)
async def test_vendors_answer_in_several_forms(client: ProviderClient, form: str) -> None:
    async with raw_provider(as_json(b"\n\n" + _ANSWERS[form])) as provider:
        answer = await embed(client, provider.url)
    assert as_numbers(answer.vectors) == [FIRST, SECOND]
    assert answer.usage.prompt_tokens == 4


async def test_a_compressed_answer_is_read(client: ProviderClient) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    async with raw_provider(head + gzip.compress(_ANSWERS["base64"])) as provider:
        assert as_numbers((await embed(client, provider.url)).vectors) == [FIRST, SECOND]


_BAD: list[tuple[str, bytes, type[ProviderError], str]] = [
    ("too few", body(item(FIRST)), InvalidResponseError, "1 vectors for 2 inputs"),
    ("too many", body(*[item(FIRST)] * 3), InvalidResponseError, "3 vectors for 2"),
    ("far too many", body(*[item(FIRST)] * 90), InvalidResponseError, "far more than 2"),
    ("twice", body(item(FIRST, index=1), item(FIRST, index=1)), InvalidResponseError, "index"),
    ("of two lengths", body(item(FIRST), item([1.0])), InvalidResponseError, "differ in length"),
    ("empty ones", body(item([]), item([])), InvalidResponseError, "is empty"),
    ("too large a number", body(item([1e300]), item([1.0])), InvalidResponseError, "finite"),
    ("no number", body(item(FIRST), item(packed(math.nan, 1))), InvalidResponseError, "finite"),
    ("no base64", body(item("???"), item("???")), InvalidResponseError, "neither"),
    ("half a number", body(item("AAA="), item("AAA=")), InvalidResponseError, "neither"),
    ("text in it", body(item(["a"]), item(["b"])), InvalidResponseError, "neither"),
    ("null", body(item(None), item(None)), InvalidResponseError, "neither"),
    ("none", body(), EmptyAnswerError, "no vectors"),
    ("an error", b'{"error":{"message":"no such model","code":404}}', ProviderError, "no such"),
    ("a page", b"<html><body>Maintenance</body></html>", InvalidResponseError, "Maintenance"),
    ("nothing", b"", InvalidResponseError, "not the expected JSON"),
    ("half of it", _ANSWERS["base64"][:40], InvalidResponseError, "not the expected JSON"),
]


@pytest.mark.parametrize(
    ("content", "error", "message"), [b[1:] for b in _BAD], ids=[b[0] for b in _BAD]
)
async def test_what_is_no_answer_is_an_error(
    client: ProviderClient, content: bytes, error: type[ProviderError], message: str
) -> None:
    async with raw_provider(as_json(content)) as provider:
        with pytest.raises(error, match=message):
            await embed(client, provider.url)


async def test_a_response_that_breaks_off_is_an_error(client: ProviderClient) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    async with raw_provider(head + _ANSWERS["base64"]) as provider:
        with pytest.raises(TruncatedError):
            await embed(client, provider.url)


async def test_too_many_vectors_are_not_kept(client: ProviderClient) -> None:
    async with raw_provider(as_json(_ANSWERS["base64"])) as provider:
        with pytest.raises(ResultTooLargeError, match="2 vectors of 2 numbers"):
            await embed(client, provider.url, max_bytes=15)
        assert ResultTooLargeError.code == "result_too_large"
    async with raw_provider(as_json(_ANSWERS["base64"])) as provider:
        await embed(client, provider.url, max_bytes=16)


async def test_a_flood_is_cut_off(client: ProviderClient) -> None:
    async def flood(provider: RawProvider) -> None:
        with pytest.raises(AnswerTooLargeError, match="larger than"):
            await embed(client, provider.url, max_bytes=4)

    limit = max_response_bytes(4)
    assert limit > 4 * TEXT_BYTES_PER_BYTE
    async with raw_provider(as_json(b'{"data":[' + b" " * limit), end="hold") as provider:
        await flood(provider)
    packed_flood = gzip.compress(b" " * (limit + 1))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    async with raw_provider(head + packed_flood) as provider:
        await flood(provider)
