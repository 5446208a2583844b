"""Bodies of chat completions: every field of OpenAI's is taken, ignored, or refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from chat.openai.chat_completions.body import read_request
from chat.openai.errors import OpenAIError

HELLO: Any = [{"role": "user", "content": "Hello"}]
FUNCTION: Any = {"name": "weather", "parameters": {"type": "object"}}
TOOL: Any = {"type": "function", "function": FUNCTION}
OTHER: Any = {"type": "function", "function": {"name": "time"}}


async def read(body: dict[str, Any], **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await read_request({"model": "m", "messages": HELLO, **body}, given)


#: Every field that OpenAI has.
SENT: dict[str, Any] = {
    "frequency_penalty": 0.1,
    "logit_bias": {"50256": -100},
    "logprobs": False,
    "max_completion_tokens": 100,
    "max_tokens": 90,
    "metadata": {"order": "4711"},
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.1,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "s",
    "seed": 1,
    "service_tier": "auto",
    "stop": ["END"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "temperature": 0.5,
    "tool_choice": "auto",
    "tools": [TOOL],
    "top_logprobs": 0,
    "top_p": 0.9,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
    "audio": None,
    "functions": None,
    "moderation": None,
    "an unknown field": {"is": "ignored"},
}
#: The fields of `SENT` that a provider gets.
PASSED_ON = {
    "frequency_penalty": 0.1,
    "logit_bias": {"50256": -100},
    "max_completion_tokens": 100,
    "max_tokens": 90,
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.1,
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "s",
    "seed": 1,
    "stop": ["END"],
    "temperature": 0.5,
    "tool_choice": "auto",
    "tools": [TOOL],
    "top_p": 0.9,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
}


async def test_every_field_that_openai_has_is_taken() -> None:
    asked = await read(SENT)
    assert asked.form.is_stream
    assert asked.form.has_usage_chunk
    assert asked.task.params() == PASSED_ON
    assert asked.task.metadata == {"order": "4711"}
    assert asked.task.lane is None


async def test_fields_of_providers_and_of_aily_are_taken_too() -> None:
    asked = await read(
        {
            "thinking": {"type": "disabled"},
            "top_k": 5,
            "extra_body": {"guided_choice": ["yes", "no"]},
            "lane": "batch",
            "deadline_seconds": 5,
            "webhook": 7,
        }
    )
    assert asked.task.params() == {
        "thinking": {"type": "disabled"},
        "top_k": 5,
        "guided_choice": ["yes", "no"],
    }
    assert (asked.task.lane, asked.task.deadline_seconds, asked.task.webhook) == ("batch", 5, 7)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"temperature": "warm"}, "temperature"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [*HELLO, {"role": "king", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "x"}]}, "messages[1].content"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content"),
        ({"store": "yes"}, "store"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": OTHER}, "tool_choice"),
        ({"functions": "weather"}, "functions"),
        ({"metadata": ["x"]}, "metadata"),
        ({"stop": 7}, "stop"),
        ({"extra_body": {"temperature": 9}}, "extra_body.temperature"),
        ({"extra_body": {"messages": []}}, "extra_body"),
        ({"extra_body": "x"}, "extra_body"),
    ],
)
async def test_what_is_refused_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(OpenAIError) as error:
        await read(body)
    assert (error.value.status, error.value.param) == (400, param)


@pytest.mark.parametrize("body", [None, [], "x", 7])
async def test_a_body_is_an_object(body: object) -> None:
    with pytest.raises(OpenAIError, match="JSON object"):
        await read_request(body, {})


@pytest.mark.parametrize(
    ("headers", "tier", "lane"),
    [
        ({}, "flex", "batch"),
        ({}, "priority", "interactive"),
        ({}, "default", None),
        ({"aily_lane": "Normal"}, "flex", "normal"),
    ],
)
async def test_the_lane_is_that_of_the_header_or_the_tier(
    headers: dict[str, str], tier: str, lane: str | None
) -> None:
    assert (await read({"service_tier": tier}, **headers)).task.lane == lane


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"aily_lane": "fast"}, "aily-lane"),
        ({"aily_deadline_seconds": "soon"}, "aily-deadline-seconds"),
        ({"aily_deadline_seconds": "-1"}, "aily-deadline-seconds"),
        ({"aily_deadline_seconds": "nan"}, "aily-deadline-seconds"),
    ],
)
async def test_headers_that_say_nothing_are_refused(headers: dict[str, str], param: str) -> None:
    with pytest.raises(OpenAIError) as error:
        await read({}, **headers)
    assert (error.value.status, error.value.param) == (400, param)


async def test_messages_as_sdks_dump_them() -> None:
    answer = {
        "content": None,
        "refusal": None,
        "role": "assistant",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning_content": "Hm.",
        "parsed": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "index": 0,
                "function": {"name": "weather", "arguments": "{}", "parsed_arguments": None},
            }
        ],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "x"}]}
    asked = await read(
        {"messages": [{"role": "developer", "content": "Be brief."}, answer, result]}
    )
    system, assistant, tool = (message.as_sent() for message in asked.task.messages)
    assert system == {"role": "system", "content": "Be brief."}
    assert assistant == {
        "role": "assistant",
        "reasoning_content": "Hm.",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": "{}"},
            }
        ],
    }
    assert tool == result


async def test_a_refusal_is_text_to_the_model() -> None:
    dumped: Any = {"role": "assistant", "content": None, "refusal": "No.", "annotations": []}
    parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    asked = await read({"messages": [*HELLO, dumped, *HELLO, parts, *HELLO]})
    _, first, _, second, _ = (message.as_sent() for message in asked.task.messages)
    assert first == {"role": "assistant", "content": "No."}
    assert second == {"role": "assistant", "content": [{"type": "text", "text": "No."}]}


async def test_functions_become_tools() -> None:
    asked = await read(
        {
            "functions": [FUNCTION],
            "function_call": {"name": "weather"},
            "messages": [
                {"role": "assistant", "content": None, "function_call": {"name": "weather"}},
                {"role": "function", "name": "weather", "content": "Rain"},
            ],
        }
    )
    assert asked.form.has_functions
    assert asked.task.params() == {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }
    call, result = (message.as_sent() for message in asked.task.messages)
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert result["role"] == "tool"


async def test_allowed_tools_are_the_only_ones() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    asked = await read({"tools": [TOOL, OTHER], "tool_choice": choice})
    assert asked.task.params() == {"tools": [OTHER], "tool_choice": "required"}


@pytest.mark.parametrize(
    "allowed",
    [
        None,
        {"mode": "sometimes", "tools": [TOOL]},
        {"mode": "auto", "tools": "weather"},
        {"mode": "auto", "tools": []},
        {"mode": "auto", "tools": [{"type": "function", "function": {"name": "none"}}]},
    ],
)
async def test_allowed_tools_that_allow_nothing_are_refused(allowed: Any) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    with pytest.raises(OpenAIError) as error:
        await read({"tools": [TOOL, OTHER], "tool_choice": choice})
    assert (error.value.param or "").startswith("tool_choice.allowed_tools")


async def test_what_a_rule_of_ours_refuses_has_no_code_of_openais() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "weather"}}]
    with pytest.raises(OpenAIError) as caught:
        await read({"messages": [{"role": "user", "content": "Hello", "tool_calls": calls}]})
    assert (caught.value.code, caught.value.param) == (None, "messages[0].tool_calls")
