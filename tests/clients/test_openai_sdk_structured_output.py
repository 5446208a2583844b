"""Pydantic models by OpenAI's SDK, from a provider that knows JSON mode only."""

from __future__ import annotations

import json
from datetime import date
from enum import Enum
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

from tests.clients.conftest import Installation

MODEL = "deepseek-flash"


class Kind(Enum):
    HOUSE = "house"
    FLAT = "flat"


class Place(BaseModel):
    city: str
    kind: Kind


class Pet(BaseModel):
    species: Literal["cat", "dog"]
    born: date


class Person(BaseModel):
    """Nested, with alternatives, a list and a reference to itself."""

    name: str
    age: int = Field(description="In years.")
    home: Place | None
    pets: list[Pet]
    parents: list[Person]


def asks(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def parse(sdk: OpenAI, prompt: str, **fields: Any) -> Any:
    return sdk.chat.completions.parse(
        model=MODEL, messages=asks(prompt), response_format=Person, **fields
    )


# --- Whole --------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["fits", "second", "fenced", "chatty"])
def test_a_nested_model_is_parsed(sdk: OpenAI, how: str) -> None:
    completion = parse(sdk, f"Who is {how}? [sim:schema={how}]")
    [choice] = completion.choices
    assert isinstance(choice.message.parsed, Person)
    assert choice.finish_reason == "stop"
    assert json.loads(choice.message.content)["name"] == choice.message.parsed.name


def test_a_repair_is_paid_for(sdk: OpenAI) -> None:
    usages = [
        parse(sdk, f"Who? [sim:schema={how}]").usage.total_tokens for how in ("fits", "second")
    ]
    assert usages[1] > 1.5 * usages[0]


@pytest.mark.parametrize("how", ["never", "prose"])
def test_a_stubborn_model_fails_clearly_and_once(sdk: OpenAI, how: str) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        # Each of the SDK's own retries would be paid for, twice.
        parse(sdk.with_options(max_retries=2), f"Who? [sim:schema={how}]")
    assert failed.value.code == "invalid_output"
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert "JSON Schema" in failed.value.message


def test_an_answer_that_is_cut_is_cut(sdk: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        parse(sdk, "Who?", max_tokens=5, extra_body={"thinking": {"type": "disabled"}})


def test_what_is_filtered_is_filtered(sdk: OpenAI) -> None:
    with pytest.raises(openai.ContentFilterFinishReasonError):
        parse(sdk, "Who? [sim:finish=content_filter]")


@pytest.mark.parametrize(
    "schema", [{"type": "strng"}, {"$ref": "https://example.com/schema"}, {"$ref": "#"}]
)
def test_a_schema_that_cannot_be_used_is_a_bad_request(sdk: OpenAI, schema: Any) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model=MODEL, messages=asks("Who?"), response_format=asked)
    assert refused.value.param == "response_format.json_schema.schema"


# --- Streamed -----------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["fits", "second", "fenced", "chatty"])
def test_a_stream_has_the_answer_that_fits_and_no_other(sdk: OpenAI, how: str) -> None:
    with sdk.chat.completions.stream(
        model=MODEL, messages=asks(f"Who? [sim:schema={how}]"), response_format=Person
    ) as stream:
        content = "".join(event.delta for event in stream if event.type == "content.delta")
        completion = stream.get_final_completion()
    assert isinstance(completion.choices[0].message.parsed, Person)
    assert content == completion.choices[0].message.content


@pytest.mark.parametrize("how", ["never", "prose"])
async def test_a_stream_that_never_fits_never_finishes(
    installation: Installation, how: str
) -> None:
    kinds: list[str] = []

    async def read(client: AsyncOpenAI) -> None:
        async with client.chat.completions.stream(
            model=MODEL, messages=asks(f"Who? [sim:schema={how}]"), response_format=Person
        ) as stream:
            async for event in stream:
                kinds.append(event.type)  # noqa: PERF401 - what came before the error

    client = AsyncOpenAI(base_url=installation.base_url, api_key=installation.alice, max_retries=0)
    async with client:
        with pytest.raises(openai.APIError) as failed:
            await read(client)
    assert failed.value.code == "invalid_output"
    assert "content.done" not in kinds


def test_a_stream_that_is_cut_is_cut(sdk: OpenAI) -> None:
    with (
        pytest.raises(openai.LengthFinishReasonError),
        sdk.chat.completions.stream(
            model=MODEL,
            messages=asks("Who?"),
            response_format=Person,
            max_tokens=5,
            extra_body={"thinking": {"type": "disabled"}},
        ) as stream,
    ):
        stream.until_done()
