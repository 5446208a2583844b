"""The simulated provider as a model that calls tools step by step, seen by a plain HTTP client."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from chat.llm.simulator.directives import parse_directives, without_directives
from chat.llm.simulator.server import Simulator
from chat.llm.simulator.tool_plan import MAX_CALLS_OF_STEP, MAX_QUOTED_CHARS, MAX_STEPS

PLAN = '[sim:tools=clock | calculate {"expression": "2 * [3]"} ; slow {"seconds": 1}]'
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {}}}
    for name in ("clock", "calculate", "slow")
]

Message = dict[str, Any]


async def _ask(simulator: Simulator, messages: list[Message], **fields: Any) -> tuple[int, Any]:
    body = {"model": "deepseek-v4-pro", "messages": messages, **fields}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/v1/chat/completions", json=body) as response,
    ):
        if not fields.get("stream"):
            return response.status, await response.json()
        lines = (await response.text()).splitlines()
        events = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
        return response.status, [json.loads(event)["choices"][0] for event in events]


async def _answer(simulator: Simulator, messages: list[Message], **fields: Any) -> Message:
    status, body = await _ask(simulator, messages, **{"tools": TOOLS} | fields)
    assert status == 200, body
    message: Message = body["choices"][0]["message"]
    return message


def _names(message: Message) -> list[str]:
    return [call["function"]["name"] for call in message.get("tool_calls") or []]


def _results(message: Message, *texts: str) -> list[Message]:
    calls = message["tool_calls"]
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": text}
        for call, text in zip(calls, texts, strict=True)
    ]


async def test_each_step_is_called_with_the_results_of_the_one_before(
    simulator: Simulator,
) -> None:
    messages: list[Message] = [{"role": "user", "content": f"What time is it? {PLAN}"}]
    first = await _answer(simulator, messages)
    assert _names(first) == ["clock", "calculate"]
    given = [json.loads(call["function"]["arguments"]) for call in first["tool_calls"]]
    assert given == [{}, {"expression": "2 * [3]"}]
    messages += [first, *_results(first, "noon", "6.0")]
    second = await _answer(simulator, messages)
    assert _names(second) == ["slow"]
    messages += [second, *_results(second, "Waited 1 s.")]
    last = await _answer(simulator, messages)
    assert _names(last) == []
    for quote in ("clock", "noon", '"2 * [3]"', "6.0", "slow", "Waited 1 s."):
        assert quote in last["content"]
    ids = [call["id"] for call in first["tool_calls"] + second["tool_calls"]]
    assert len(set(ids)) == 3


async def test_a_stream_has_the_calls_in_pieces(simulator: Simulator) -> None:
    messages = [{"role": "user", "content": PLAN}]
    _, choices = await _ask(simulator, messages, tools=TOOLS, stream=True)
    assert choices[-1]["finish_reason"] == "tool_calls"
    pieces = [piece for choice in choices for piece in choice["delta"].get("tool_calls") or []]
    arguments: dict[int, str] = defaultdict(str)
    for piece in pieces:
        arguments[piece["index"]] += piece["function"]["arguments"]
    assert [piece["function"]["name"] for piece in pieces if "id" in piece] == [
        "clock",
        "calculate",
    ]
    assert [json.loads(text) for text in arguments.values()] == [{}, {"expression": "2 * [3]"}]
    assert len(pieces) > 4


async def test_the_next_question_begins_anew(simulator: Simulator) -> None:
    plan = {"role": "user", "content": "[sim:tools=clock]"}
    called = await _answer(simulator, [plan])
    asked_again = [plan, called, *_results(called, "noon"), plan]
    assert _names(await _answer(simulator, asked_again)) == ["clock"]


@pytest.mark.parametrize("fields", [{"tools": []}, {"tool_choice": "none"}])
async def test_without_tools_the_answer_is_a_text(
    simulator: Simulator, fields: dict[str, Any]
) -> None:
    message = await _answer(simulator, [{"role": "user", "content": f"Hello {PLAN}"}], **fields)
    assert _names(message) == []
    assert "> Hello\n" in message["content"]


async def test_a_tool_that_is_not_offered_is_called_as_models_do(simulator: Simulator) -> None:
    messages = [{"role": "user", "content": "[sim:tools=made_up]"}]
    assert _names(await _answer(simulator, messages)) == ["made_up"]


_NESTED = {
    "$defs": {"Place": {"type": "object", "properties": {"rank": {"type": "integer"}}}},
    "properties": {
        "where": {"$ref": "#/$defs/Place"},
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "word": {"type": "string"},
    },
    "required": ["where", "names", "note", "word"],
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "go"}}])
async def test_a_tool_is_called_where_the_request_says_so(
    simulator: Simulator, choice: Any
) -> None:
    tools = [{"type": "function", "function": {"name": "go", "parameters": _NESTED}}]
    fields = {"tools": tools, "tool_choice": choice, "thinking": {"type": "disabled"}}
    message = await _answer(simulator, [{"role": "user", "content": "Hello"}], **fields)
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "go"
    arguments = json.loads(call["function"]["arguments"])
    Draft202012Validator(_NESTED).validate(arguments)
    assert arguments["word"] == "simulated word"


async def test_a_long_result_is_quoted_in_part(simulator: Simulator) -> None:
    messages: list[Message] = [{"role": "user", "content": "[sim:tools=clock]"}]
    called = await _answer(simulator, messages)
    content = [{"type": "text", "text": "x" * 10 * MAX_QUOTED_CHARS}]
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": content}
    last = await _answer(simulator, [*messages, called, result])
    assert last["content"].count("x") == MAX_QUOTED_CHARS - 1


def test_the_plan_is_no_part_of_the_prompts_words() -> None:
    prompt = f"Before {PLAN} and [sim:latency=2]after"
    assert without_directives(prompt) == "Before  and after"
    assert parse_directives(prompt).latency == 2
    assert without_directives("Half of [sim:tools=") == "Half of [sim:tools="


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ("[sim:tools=]", "name of a tool"),
        ("[sim:tools=clock {]", "arguments of clock"),
        ('[sim:tools=clock {"a": 1}', "must follow clock"),
        ("[sim:tools=clock | ]", "name of a tool"),
        ("[sim:tools=clock, tokens=3]", "must follow clock"),
        ("[sim:plan=clock]", "unknown directive"),
        (f"[sim:tools={'a;' * MAX_STEPS}a]", "too many"),
        (f"[sim:tools={'a|' * MAX_CALLS_OF_STEP}a]", "too many"),
        ("[sim:tools=a " + '{"a":' * 100_000, "arguments of a"),
    ],
)
async def test_a_plan_that_cannot_be_read_is_refused(
    simulator: Simulator, plan: str, complaint: str
) -> None:
    status, body = await _ask(simulator, [{"role": "user", "content": plan}], tools=TOOLS)
    assert status == 400
    assert complaint in body["error"]["message"]
