"""Embeddings as bytes."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import pytest

from tests.clients import openai_schemas
from tests.clients.raw import MODEL, error_of

_EMBEDDING = "simulated-embeddings"


def _embed(api: httpx.Client, **fields: Any) -> httpx.Response:
    return api.post("/embeddings", json={"model": _EMBEDDING, "input": "Hello", **fields})


def test_embeddings_as_numbers_and_as_base64_are_the_same(api: httpx.Client) -> None:
    floats = _embed(api, encoding_format="float").json()
    openai_schemas.check("CreateEmbeddingResponse", floats)
    (item,) = _embed(api, encoding_format="base64").json()["data"]
    raw = base64.b64decode(item["embedding"])
    numbers = struct.unpack(f"<{len(raw) // 4}f", raw)
    assert numbers == pytest.approx(floats["data"][0]["embedding"])
    assert floats["object"] == "list"
    assert floats["data"][0]["object"] == "embedding"
    assert floats["usage"]["total_tokens"] == floats["usage"]["prompt_tokens"] > 0


def test_embeddings_keep_the_order_of_their_inputs(api: httpx.Client) -> None:
    texts = [f"Text {number}" for number in range(5)]
    together = _embed(api, input=texts, encoding_format="float").json()["data"]
    assert [item["index"] for item in together] == list(range(5))
    for text, item in zip(texts, together, strict=True):
        (alone,) = _embed(api, input=text, encoding_format="float").json()["data"]
        assert alone["embedding"] == pytest.approx(item["embedding"])


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_are_embedded_or_refused(api: httpx.Client, tokens: list[Any]) -> None:
    response = _embed(api, input=tokens)
    if response.status_code != 200:
        assert error_of(response, 400)["param"].startswith("input")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [""]}, "input"),
        ({"input": 1}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"model": None}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"),
    ],
)
def test_a_bad_field_of_embeddings_is_named(
    api: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    error = error_of(_embed(api, **fields), 400)
    assert str(error["param"]).split(".")[0].split("[")[0] == param


def test_a_model_that_embeds_nothing_is_refused(api: httpx.Client) -> None:
    response = _embed(api, model=MODEL)
    assert response.status_code in (400, 404)
    error_of(response, response.status_code)


def test_a_model_that_only_embeds_takes_no_chat(api: httpx.Client) -> None:
    body = {"model": _EMBEDDING, "messages": [{"role": "user", "content": "Hello"}]}
    response = api.post("/chat/completions", json=body)
    assert response.status_code in (400, 404)
    error_of(response, response.status_code)


def test_embeddings_are_asked_for_by_post_alone(api: httpx.Client) -> None:
    response = api.get("/embeddings")
    error_of(response, 405)
    assert response.headers["allow"] == "POST"
