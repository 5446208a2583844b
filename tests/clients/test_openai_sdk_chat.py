"""Chat completions by OpenAI's own Python SDK against a running aily."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from redis import Redis

from chat.openai.waiters import keys
from tests.client import RestClient, reset_stats
from tests.clients.conftest import Installation
from tests.clients.openai_schemas import check
from tests.waiting import eventually, until

MODEL = "deepseek-flash"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def asks(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def events_of(response: httpx.Response) -> Iterator[str]:
    """The data of a recorded stream's events. Its lines are nothing but data, comments and ends."""
    for line in response.text.split("\n"):
        assert line == "" or line.startswith(("data: ", ":")), line
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


async def calls_of(simulator: RestClient) -> int:
    return int((await simulator.get("/stats")).body["requests"])


# --- Whole --------------------------------------------------------------------------------------
def test_a_completion_fits_openais_schema(sdk: OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Good morning! [sim:tokens=9]"}]},
        ],
        temperature=0.3,
        max_completion_tokens=200,
        store=True,
        metadata={"order": "4711"},
        user="end-user-1",
        seed=7,
    )
    check("CreateChatCompletionResponse", raw.http_response.json())
    completion = raw.parse()
    assert completion.id.startswith("chatcmpl-")
    assert abs(completion.created - time.time()) < 60
    [choice] = completion.choices
    assert choice.message.content
    assert choice.finish_reason == "stop"
    usage = completion.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert completion._request_id == raw.headers["x-request-id"]
    assert int(raw.headers["openai-processing-ms"]) >= 0


async def test_a_completion_is_a_task_like_any_other(sdk: OpenAI, rest: RestClient) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=asks("Keep me"), metadata={"order": "4712"}, service_tier="flex"
    )
    task = await rest.task(raw.headers["aily-task-id"])
    completion = raw.parse()
    assert task["result"]["text"] == completion.choices[0].message.content
    assert (task["metadata"], task["lane"]) == ({"order": "4712"}, "batch")
    assert completion.service_tier == "flex"


async def test_the_header_names_the_lane(sdk: OpenAI, rest: RestClient) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=asks("Slowly"),
        service_tier="priority",
        extra_headers={"aily-lane": "normal", "aily-deadline-seconds": "60"},
    )
    task = await rest.task(raw.headers["aily-task-id"])
    assert task["lane"] == "normal"


async def test_many_at_once(async_sdk: AsyncOpenAI) -> None:
    create = async_sdk.chat.completions.create
    asked = (create(model=MODEL, messages=asks(f"Number {n}")) for n in range(40))
    completions = await asyncio.gather(*asked)
    assert len({completion.id for completion in completions}) == 40
    assert all(completion.choices[0].message.content for completion in completions)


# --- Streams ------------------------------------------------------------------------------------
@pytest.mark.parametrize("has_usage", [False, True])
async def test_a_stream_fits_openais_schema(sdk: OpenAI, rest: RestClient, has_usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if has_usage else {}
    with sdk.chat.completions.with_streaming_response.create(
        model=MODEL, messages=asks("Tell me more [sim:tokens=60,tps=200]"), stream=True, **options
    ) as raw:
        raw.read()
        task = await rest.task(raw.headers["aily-task-id"])
    assert raw.headers["content-type"] == "text/event-stream"
    *events, done = events_of(raw.http_response)
    assert done == "[DONE]"
    chunks = [json.loads(event) for event in events]
    for chunk in chunks:
        check("CreateChatCompletionStreamResponse", chunk)
        assert ("usage" in chunk) == has_usage
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    if has_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] > 0
        assert all(chunk["usage"] is None for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"]["role"] == "assistant"
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(chunks) - 1) + ["stop"]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    reasoning = "".join(choice["delta"].get("reasoning_content", "") for choice in choices)
    assert (text, reasoning) == (task["result"]["text"], task["result"]["reasoning"])


async def test_an_asynchronous_stream(async_sdk: AsyncOpenAI) -> None:
    stream = await async_sdk.chat.completions.create(
        model=MODEL,
        messages=asks("And more"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks)


async def test_the_helper_accumulates_a_stream(async_sdk: AsyncOpenAI) -> None:
    async with async_sdk.chat.completions.stream(
        model=MODEL, messages=asks("Accumulate"), stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type async for event in stream]
        completion = await stream.get_final_completion()
    assert {"content.delta", "content.done"} <= set(kinds)
    assert completion.choices[0].message.content
    assert completion.usage is not None


def test_a_stream_that_waits_is_kept_alive_by_comments(
    sdk: OpenAI, installation: Installation
) -> None:
    """The Python SDK breaks on `id:` lines as soon as a comment follows one."""
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=asks("[sim:stall=middle,stall_seconds=0.5,tokens=20]"),
        stream=True,
    )
    assert list(stream)[-1].choices[0].finish_reason == "stop"


# --- Log probabilities --------------------------------------------------------------------------
@pytest.mark.parametrize("alternatives", [0, 3])
async def test_log_probabilities_are_those_of_the_text(
    sdk: OpenAI, rest: RestClient, alternatives: int
) -> None:
    options: Any = {"logprobs": True, **({"top_logprobs": 3} if alternatives else {})}
    asked: Any = {"model": MODEL, "messages": asks("Rate it [sim:tokens=40,tps=300]"), **options}
    raw = sdk.chat.completions.with_raw_response.create(**asked)
    check("CreateChatCompletionResponse", raw.http_response.json())
    [choice] = raw.parse().choices
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert "".join(token.token for token in tokens) == choice.message.content
    assert {len(token.top_logprobs) for token in tokens} == {alternatives}
    task = await rest.task(raw.headers["aily-task-id"])
    assert [entry["token"] for entry in task["result"]["logprobs"]] == [t.token for t in tokens]
    sent = ""
    for chunk in sdk.chat.completions.create(**asked, stream=True):
        check("CreateChatCompletionStreamResponse", json.loads(chunk.to_json(exclude_unset=True)))
        found = chunk.choices[0].logprobs
        text = "".join(token.token for token in (found.content or [])) if found else ""
        # Of the chunk's own text.
        assert text == (chunk.choices[0].delta.content or "")
        sent += text
    assert sent


def test_log_probabilities_come_with_an_answer_that_was_held_back(sdk: OpenAI) -> None:
    class City(BaseModel):
        name: str

    with sdk.chat.completions.stream(
        model=MODEL, messages=asks("A city"), response_format=City, logprobs=True
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.message.parsed is not None
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs.content or []) == choice.message.content


# --- Tools --------------------------------------------------------------------------------------
def test_tools_are_called_and_answered(sdk: OpenAI) -> None:
    messages = asks("What is the weather in Oslo? [sim:tool=weather]")
    first = sdk.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    check("CreateChatCompletionResponse", json.loads(first.to_json(exclude_unset=True)))
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    calls: Any = message.tool_calls
    [call] = calls
    assert call.type == "function"
    assert json.loads(call.function.arguments).keys() == {"city"}
    # As a client keeps it: with `reasoning_content`, which DeepSeek wants back.
    answered: Any = [
        *messages,
        message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "Rain"},
        {"role": "user", "content": "So?"},
    ]
    second = sdk.chat.completions.create(model=MODEL, messages=answered, tools=[WEATHER])
    assert second.choices[0].message.content


def test_calls_of_tools_in_a_stream_are_put_together_by_the_sdk(sdk: OpenAI) -> None:
    with sdk.chat.completions.stream(
        model=MODEL, messages=asks("Oslo? [sim:tool=weather]"), tools=[WEATHER]
    ) as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    calls: Any = completion.choices[0].message.tool_calls
    [call] = calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments).keys() == {"city"}
    assert completion.choices[0].finish_reason == "tool_calls"


def test_a_program_runs_its_own_tools_until_the_answer(sdk: OpenAI) -> None:
    plan = 'weather {"city": "Oslo"} | weather {"city": "Rome"} ; weather {"city": "Paris"}'
    messages = asks(f"Where is it warm? [sim:tools={plan}]")
    steps: list[list[str]] = []
    while True:
        with sdk.chat.completions.stream(model=MODEL, messages=messages, tools=[WEATHER]) as stream:
            message = stream.get_final_completion().choices[0].message
        if not message.tool_calls:
            break
        messages.append(message.model_dump(exclude_none=True))
        steps.append([json.loads(call.function.arguments)["city"] for call in message.tool_calls])
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f"Sun over {city}"}
            for call, city in zip(message.tool_calls, steps[-1], strict=True)
        ]
    assert steps == [["Oslo", "Rome"], ["Paris"]]
    assert message.content is not None
    assert all(f"Sun over {city}" in message.content for city in ("Oslo", "Rome", "Paris"))


def test_the_old_form_of_tools(sdk: OpenAI) -> None:
    function = WEATHER["function"]
    named: Any = {name: function[name] for name in ("name", "parameters")}
    messages = asks("Oslo? [sim:tool=weather]")
    first = sdk.chat.completions.create(
        model=MODEL, messages=messages, functions=[named], function_call="auto"
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "function_call"
    assert message.function_call is not None
    assert message.function_call.name == "weather"
    answered: Any = [
        *messages,
        message.model_dump(exclude_none=True),
        {"role": "function", "name": "weather", "content": "Rain"},
        {"role": "user", "content": "So?"},
    ]
    second = sdk.chat.completions.create(model=MODEL, messages=answered, functions=[named])
    assert second.choices[0].message.content


# --- Structured output --------------------------------------------------------------------------
class Step(BaseModel):
    explanation: str
    output: float


class Solution(BaseModel):
    steps: list[Step]
    final_answer: str | None


def test_an_answer_is_parsed_by_a_nested_schema(sdk: OpenAI) -> None:
    """The simulated provider knows JSON mode alone, as DeepSeek."""
    completion = sdk.chat.completions.parse(
        model=MODEL, messages=asks("Solve 8x + 7 = -23"), response_format=Solution
    )
    [choice] = completion.choices
    assert choice.finish_reason == "stop"
    assert isinstance(choice.message.parsed, Solution)
    assert choice.message.refusal is None


def test_a_stream_is_parsed(sdk: OpenAI) -> None:
    with sdk.chat.completions.stream(
        model=MODEL, messages=asks("Solve it again"), response_format=Solution
    ) as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    assert isinstance(completion.choices[0].message.parsed, Solution)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_does_not_fit_is_a_clear_error(
    sdk: OpenAI, rest: RestClient, simulator: RestClient, stream: bool
) -> None:
    """It was repaired once in vain; the SDK does not try it again."""
    # A worker's first call of the provider finds out that it knows no schemas.
    sdk.chat.completions.parse(model=MODEL, messages=asks("Solve it"), response_format=Solution)
    await reset_stats(simulator)
    schema = {"name": "solution", "schema": Solution.model_json_schema()}
    response_format: Any = {"type": "json_schema", "json_schema": schema}
    with pytest.raises(openai.APIStatusError) as error:
        sdk.with_options(max_retries=2).chat.completions.create(
            model=MODEL,
            messages=asks("[sim:schema=never]"),
            response_format=response_format,
            stream=stream,
        )
    assert (error.value.status_code, error.value.code) == (502, "invalid_output")
    assert await calls_of(simulator) == 2
    # The task keeps the text as it came.
    task = await rest.task(error.value.response.headers["aily-task-id"])
    assert task["result"]["text"]


def test_a_schema_that_cannot_be_used_is_refused(sdk: OpenAI) -> None:
    schema = {"name": "x", "schema": {"type": "nothing"}}
    response_format: Any = {"type": "json_schema", "json_schema": schema}
    with pytest.raises(openai.BadRequestError) as error:
        sdk.chat.completions.create(
            model=MODEL, messages=asks("x"), response_format=response_format
        )
    assert (error.value.param or "").startswith("response_format")


# --- Models and scenes --------------------------------------------------------------------------
def test_models_and_scenes_are_listed_and_retrieved(sdk: OpenAI) -> None:
    check("ListModelsResponse", sdk.models.with_raw_response.list().http_response.json())
    models = {model.id: model for model in sdk.models.list()}
    assert {MODEL, "narrow", "scene:summarize"} <= models.keys()
    assert all(1e9 < model.created < 1e11 for model in models.values())
    assert sdk.models.retrieve(MODEL) == models[MODEL]
    scene: Any = sdk.models.retrieve("scene:summarize")
    assert "text" in scene.variables["properties"]
    with pytest.raises(openai.NotFoundError) as error:
        sdk.models.retrieve("scene:nothing/of the kind")
    assert error.value.code == "model_not_found"


@pytest.mark.parametrize("how", ["metadata", "variables"])
async def test_a_scene_is_called_as_a_model(sdk: OpenAI, rest: RestClient, how: str) -> None:
    variables = {"text": "A long text about queues."}
    given: Any = (
        {"metadata": {**variables, "order": "1"}}
        if how == "metadata"
        else {"metadata": {"order": "1"}, "extra_body": {"variables": variables}}
    )
    raw = sdk.chat.completions.with_raw_response.create(
        model="scene:summarize", messages=[], **given
    )
    task = await rest.task(raw.headers["aily-task-id"])
    assert (task["scene"], task["metadata"]) == ("summarize", {"order": "1"})
    assert raw.parse().choices[0].message.content == task["result"]["text"]


# --- Errors -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"model": "gpt-none"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": "scene:none"}, openai.NotFoundError, "model", "model_not_found"),
        ({"n": 2}, openai.BadRequestError, "n", "unsupported_parameter"),
        (
            {"audio": {"voice": "x", "format": "mp3"}},
            openai.BadRequestError,
            "audio",
            "unsupported_parameter",
        ),
        ({"temperature": 9}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"messages": []}, openai.BadRequestError, "messages", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "x" * 4_300_000}]},
            openai.BadRequestError,
            "messages",
            "context_length_exceeded",
        ),
        (
            {"messages": asks("[sim:status=400]")},
            openai.BadRequestError,
            None,
            None,
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_their_class(
    sdk: OpenAI,
    fields: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str | None,
    code: str | None,
    stream: bool,
) -> None:
    asked = {"model": MODEL, "messages": asks("x"), "stream": stream, **fields}
    with pytest.raises(kind) as error:
        sdk.chat.completions.create(**asked)
    check("ErrorResponse", error.value.response.json())
    assert (error.value.param, error.value.code) == (param, code)
    assert error.value.request_id


def test_a_wrong_key_is_an_authentication_error(installation: Installation) -> None:
    with (
        OpenAI(base_url=installation.base_url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as error,
    ):
        client.models.list()
    assert error.value.code == "invalid_api_key"


def test_a_used_up_budget_is_not_retried(installation: Installation) -> None:
    with (
        OpenAI(base_url=installation.base_url, api_key=installation.carol) as client,
        pytest.raises(openai.RateLimitError) as error,
    ):
        client.chat.completions.create(model=MODEL, messages=asks("Too much"))
    assert (error.value.type, error.value.code) == ("insufficient_quota", "insufficient_quota")
    assert error.value.response.request.headers["x-stainless-retry-count"] == "0"


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_a_provider_that_fails_is_retried_by_the_sdk(
    sdk: OpenAI, simulator: RestClient, stream: bool
) -> None:
    """Its retry is a new task: the first one has ended."""
    client = sdk.with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(
            model=MODEL, messages=asks("[sim:status=500]"), stream=stream
        )
    assert error.value.status_code == 502
    assert await calls_of(simulator) == 4


def test_an_answer_that_breaks_off_is_an_error_in_the_stream(sdk: OpenAI) -> None:
    """The next attempt would have another beginning."""
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=asks("[sim:latency=0,tokens=60,tps=100,disconnect,times=1]"),
        stream=True,
    )
    with pytest.raises(openai.APIError) as error:
        for _ in stream:
            pass
    assert error.value.code == "answer_interrupted"


# --- Lost connections ---------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_a_retry_after_a_timeout_finds_the_running_task(
    sdk: OpenAI, simulator: RestClient, stream: bool
) -> None:
    client = sdk.with_options(timeout=2.0, max_retries=6)
    answer: Any = client.chat.completions.create(
        model=MODEL,
        messages=asks(f"Patience {stream} [sim:latency=2.6,tokens=5]"),
        stream=stream,
    )
    if stream:
        answer = list(answer)[-1]
    assert answer.choices[0].finish_reason == "stop"
    assert await calls_of(simulator) == 1


async def test_a_timeout_without_a_retry_cancels_the_task(
    sdk: OpenAI, simulator: RestClient
) -> None:
    with pytest.raises(openai.APITimeoutError):
        sdk.with_options(timeout=3).chat.completions.create(
            model=MODEL, messages=asks("Forget it [sim:latency=60]")
        )
    await until_disconnected(simulator)


async def test_closing_a_stream_cancels_the_task(
    sdk: OpenAI, rest: RestClient, simulator: RestClient
) -> None:
    with sdk.chat.completions.with_streaming_response.create(
        model=MODEL, messages=asks("[sim:latency=0,tokens=3000,tps=50]"), stream=True
    ) as raw:
        next(raw.iter_lines())
        task_id = raw.headers["aily-task-id"]
    await until_disconnected(simulator)
    assert (await rest.task(task_id))["status"] == "cancelled"


async def until_disconnected(simulator: RestClient) -> None:
    async def count() -> int:
        return int((await simulator.get("/stats")).body["client_disconnects"])

    await eventually(count, "a closed connection to the provider")


async def test_an_idempotency_key_gives_one_task(sdk: OpenAI, simulator: RestClient) -> None:
    create = sdk.with_options(max_retries=2).chat.completions.create
    headers = {"Idempotency-Key": "order-4713"}
    first, second = (
        create(model=MODEL, messages=asks("Once"), extra_headers=headers) for _ in range(2)
    )
    assert first == second
    assert await calls_of(simulator) == 1
    with pytest.raises(openai.ConflictError) as error:
        create(model=MODEL, messages=asks("Another"), extra_headers=headers)
    assert error.value.response.request.headers["x-stainless-retry-count"] == "0"


async def test_a_retry_finds_the_task_of_a_killed_web_process(
    async_sdk: AsyncOpenAI, installation: Installation, simulator: RestClient
) -> None:
    stack = installation.stack
    with Redis.from_url(stack.environment["REDIS_URL"]) as redis:
        redis.delete(keys.HELD)
        asking = asyncio.ensure_future(
            async_sdk.with_options(max_retries=2).chat.completions.create(
                model=MODEL, messages=asks("Survive [sim:latency=4,tokens=5]")
            )
        )
        await until(lambda: redis.zcard(keys.HELD), "a heartbeat that tells of the request")
    for name in ("web-0", "web-1"):
        stack.kill(name)
        stack.restart(name)
    completion = await asking
    stack.wait_until_ready()
    assert completion.choices[0].finish_reason == "stop"
    assert await calls_of(simulator) == 1
