"""Chat completions as bytes: each field, each form of an answer, each way to be wrong."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.clients import openai_schemas
from tests.clients.conftest import Installation
from tests.clients.raw import MODEL, chat_body, error_of, events_of
from tests.subtests import subtested

_PATH = "/chat/completions"
_USER = {"role": "user", "content": "Hello"}
_FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
_TOOL = {"type": "function", "function": _FUNCTION}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CALLED = {"role": "assistant", "content": None, "tool_calls": [_CALL], "reasoning_content": "so"}
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "1"}


@subtested(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [1]}, "messages"),
        ({"messages": [{}]}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "nothing"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages"),
        ({"messages": [_USER, {"role": "tool", "content": "1"}]}, "messages"),
        ({"messages": [_USER, _RESULT]}, "messages"),
        ({"messages": [_USER, _CALLED, _USER]}, "messages"),
        ({"messages": [_USER, {**_CALLED, "tool_calls": [{}]}]}, "messages"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"n": "1"}, "n"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": "x"}, "frequency_penalty"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": "usage", "stream": True}, "stream_options"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"tools": [{**_TOOL, "function": {"name": "f", "parameters": "x"}}]}, "tools"),
        ({"tools": [{**_TOOL, "function": {"name": "f", "strict": "x"}}]}, "tools"),
        ({"stop": 1}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"tools": "f"}, "tools"),
        ({"tools": [{}]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "not a name"}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools"),
        ({"tools": [_TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"store": "yes"}, "store"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {f"key{n}": "x" for n in range(40)}}, "metadata"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ],
)
def test_a_bad_field_is_named(api: httpx.Client, fields: dict[str, Any], param: str) -> None:
    error = error_of(api.post(_PATH, json={**chat_body(), **fields}), 400)
    assert error["type"] == "invalid_request_error"
    assert str(error["param"]).split(".")[0].split("[")[0] == param, error


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(api: httpx.Client, missing: str) -> None:
    body = chat_body()
    del body[missing]
    assert error_of(api.post(_PATH, json=body), 400)["param"] == missing


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"modalities": ["text"]},
        {"user": "somebody", "safety_identifier": "x", "store": True},
        {"metadata": {"key": "value"}},
        {"service_tier": "auto"},
        {"service_tier": "flex"},
        {"seed": 1},
        {"logit_bias": {"1": 2}},
        {"parallel_tool_calls": True, "tools": [_TOOL], "tool_choice": "auto"},
        {"tool_choice": "auto"},
        {"messages": [_USER, {"role": "assistant", "content": None, "refusal": "No."}, _USER]},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"prediction": {"type": "content", "content": "x"}},
        {"verbosity": "low"},
        {"reasoning_effort": "low"},
        {"max_tokens": 100},
        {"top_p": 0, "temperature": 0},
        {"user": ""},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": None}}]},
        {"max_completion_tokens": 100},
        {"max_tokens": 100, "max_completion_tokens": 100},
        {"stop": "x"},
        {"stop": ["x", "y"]},
        {"temperature": None, "top_p": None, "stop": None, "tools": None, "stream": None},
        {"response_format": {"type": "text"}},
        {"stream_options": None},
        {"of_the_future": {"anything": [1, 2]}},
        {"messages": [{"role": "developer", "content": "Be brief."}, _USER]},
        {"messages": [{"role": "system", "content": "Be brief.", "name": "boss"}, _USER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {"messages": [_USER, _CALLED, _RESULT]},
        {"messages": [_USER, {**_CALLED, "content": ""}, _RESULT, _USER]},
        {"messages": [_USER, {"role": "assistant", "content": "Hi", "refusal": None}, _USER]},
    ],
)
def test_what_clients_send_is_answered(api: httpx.Client, fields: dict[str, Any]) -> None:
    response = api.post(_PATH, json={**chat_body(), **fields})
    assert response.status_code == 200, response.text
    openai_schemas.check("CreateChatCompletionResponse", response.json())


def test_tool_turns_of_clients_that_keep_no_reasoning_are_answered(api: httpx.Client) -> None:
    """Most keep only what OpenAI knows of an assistant's message; DeepSeek wants more."""
    called = {key: value for key, value in _CALLED.items() if key != "reasoning_content"}
    body = {**chat_body(), "messages": [_USER, called, _RESULT], "tools": [_TOOL]}
    response = api.post(_PATH, json=body)
    assert response.status_code == 200, response.text


def test_an_answer_has_every_field(api: httpx.Client) -> None:
    body = api.post(_PATH, json=chat_body()).json()
    assert body["object"] == "chat.completion"
    assert abs(body["created"] - time.time()) < 60
    assert isinstance(body["created"], int)
    assert body["model"] == MODEL
    (choice,) = body["choices"]
    assert choice["index"] == 0
    assert choice["logprobs"] is None
    assert choice["message"]["refusal"] is None
    assert choice["message"]["role"] == "assistant"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "cached_tokens" in usage["prompt_tokens_details"]
    assert "reasoning_tokens" in usage["completion_tokens_details"]


@pytest.mark.parametrize(
    ("prompt", "fields", "reason"),
    [
        ("Hello", {}, "stop"),
        ("Hello", {"max_tokens": 3}, "length"),
        ("Hello", {"max_completion_tokens": 3}, "length"),
        ("Hello [sim:tool]", {"tools": [_TOOL]}, "tool_calls"),
        ("Hello", {"tools": [_TOOL], "tool_choice": "required"}, "tool_calls"),
        ("Hello [sim:finish=content_filter]", {}, "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_reasons_to_finish(
    api: httpx.Client, prompt: str, fields: dict[str, Any], reason: str, stream: bool
) -> None:
    response = api.post(_PATH, json=chat_body(prompt, stream=stream, **fields))
    if stream:
        *chunks, end = events_of(response)
        assert end == "[DONE]"
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
        assert [found for found in reasons if found] == [reason]
        assert reasons[-1] == reason
    else:
        assert response.json()["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_own_reason_does_not_leak(api: httpx.Client, stream: bool) -> None:
    prompt = "Hello [sim:finish=insufficient_system_resource]"
    response = api.post(_PATH, json=chat_body(prompt, stream=stream))
    assert '"finish_reason":"insufficient' not in response.text
    assert '"error"' in response.text


# --- Streams --------------------------------------------------------------------------------------
def test_chunks_come_in_order(api: httpx.Client) -> None:
    *chunks, end = events_of(api.post(_PATH, json=chat_body(stream=True)))
    assert end == "[DONE]"
    for chunk in chunks:
        openai_schemas.check("CreateChatCompletionStreamResponse", chunk)
        assert "usage" not in chunk
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], MODEL)
    }
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert all("role" not in delta or delta["role"] is None for delta in deltas[1:])
    assert deltas[-1] == {}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]


def test_usage_comes_last_and_without_choices(api: httpx.Client) -> None:
    body = chat_body(stream=True, stream_options={"include_usage": True})
    *chunks, last, _ = events_of(api.post(_PATH, json=body))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)


def test_a_stream_is_sent_as_it_must_be_through_proxies(api: httpx.Client) -> None:
    headers = api.post(_PATH, json=chat_body(stream=True)).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in headers["cache-control"]
    assert headers["x-accel-buffering"] == "no"


def test_calls_of_tools_are_streamed_densely(api: httpx.Client) -> None:
    body = chat_body("Hello [sim:tool]", stream=True, tools=[_TOOL])
    *chunks, _ = events_of(api.post(_PATH, json=body))
    pieces = [
        call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls") or []
    ]
    assert pieces[0]["index"] == 0
    assert pieces[0]["type"] == "function"
    assert pieces[0]["id"]
    assert pieces[0]["function"]["name"] == "f"
    assert all("id" not in piece for piece in pieces[1:])


def test_a_refused_stream_is_a_plain_error(api: httpx.Client) -> None:
    error_of(api.post(_PATH, json=chat_body(stream=True, temperature="hot")), 400)


def test_a_stream_that_breaks_off_ends_with_an_error(api: httpx.Client) -> None:
    body = chat_body("Hello [sim:error=middle]", stream=True)
    events = events_of(api.post(_PATH, json=body))
    assert events[-1] != "[DONE]"
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}


# --- What providers refuse ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("status=400", {400}),
        ("status=401", {502, 503}),
        ("status=402", {502, 503}),
        ("status=500", {502, 503}),
        ("status=503", {502, 503}),
        ("broken_json", {502, 503}),
        ("empty", {502, 503}),
        ("truncate", {502, 503}),
        ("disconnect", {502, 503}),
    ],
)
def test_a_fault_of_the_provider_is_not_the_callers(
    api: httpx.Client, fault: str, statuses: set[int]
) -> None:
    """A 401 or 402 of the provider is about aily's key, not about the caller's."""
    response = api.post(_PATH, json=chat_body(f"Hello {fault} [sim:{fault}]"))
    assert response.status_code in statuses, response.text
    error = error_of(response, response.status_code)
    assert error["type"] == ("invalid_request_error" if statuses == {400} else "server_error")
    if retry := response.headers.get("retry-after"):
        assert 0 <= float(retry) <= 120


# --- Whose, and how often -------------------------------------------------------------------------
def test_an_unknown_model_is_404(api: httpx.Client) -> None:
    for name in ("nobody", "scene:nobody", "a/b", "x" * 300, "scene:" + "x" * 90):
        error = error_of(api.post(_PATH, json={**chat_body(), "model": name}), 404)
        assert error["code"] == "model_not_found"


def test_an_idempotency_key_gives_one_answer(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (api.post(_PATH, json=chat_body(), headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = api.post(_PATH, json=chat_body("Another"), headers=headers)
    error_of(other, 409)
    assert other.headers["x-should-retry"] == "false"


def test_equal_calls_without_a_key_are_calls_of_their_own(api: httpx.Client) -> None:
    first, second = (api.post(_PATH, json=chat_body()) for _ in range(2))
    assert first.json()["id"] != second.json()["id"]


def test_a_used_up_budget_is_final(installation: Installation) -> None:
    headers = {"Authorization": f"Bearer {installation.carol}"}
    response = httpx.post(
        installation.base_url + _PATH, json=chat_body(), headers=headers, timeout=30
    )
    assert error_of(response, 429)["code"] == "insufficient_quota"
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"aily-lane": "nothing"}, {}),
        ({"Idempotency-Key": "x" * 1000}, {}),
    ],
)
def test_bad_headers_are_refused(
    api: httpx.Client, headers: dict[str, str], fields: dict[str, Any]
) -> None:
    error_of(api.post(_PATH, json=chat_body(**fields), headers=headers), 400)
