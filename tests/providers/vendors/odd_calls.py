"""Tool calls of no known vendor: repeated as a whole, or longer in each fragment, and ids that are
no names."""

from __future__ import annotations

from typing import Any

from chat.llm.types import ToolCall
from tests.providers.playing import (
    MADE_UP,
    Answered,
    Case,
    Failed,
    Response,
    chunk,
    stream,
    text,
    tool,
    tools,
    whole,
)

_END = chunk(finish="tool_calls")


def _called(name: str, response: Response, *calls: ToolCall) -> Answered:
    return Answered(
        name=name, response=response, finish_reason="tool_calls", tool_calls=tuple(calls)
    )


def _calls(name: str, *fragments: dict[str, Any], expected: tuple[ToolCall, ...]) -> Answered:
    return _called(name, stream(*map(tools, fragments), _END), *expected)


def _one(name: str, *fragments: dict[str, Any], arguments: str) -> Answered:
    return _calls(name, *fragments, expected=(ToolCall("c", "f", arguments),))


def _message(*calls: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _old(**function: Any) -> dict[str, Any]:
    return chunk({"function_call": function})


CASES: list[Case] = [
    _one(
        "all arguments so far in each fragment",
        tool(0, "c", "f", ""),
        tool(0, arguments='{"a"'),
        tool(0, arguments='{"a":1'),
        tool(0, arguments='{"a":1}'),
        arguments='{"a":1}',
    ),
    _one(
        "all arguments so far, twice",
        tool(0, "c", "f", '{"a":[1'),
        tool(0, arguments='{"a":[1,2]}'),
        arguments='{"a":[1,2]}',
    ),
    _one(
        "all arguments so far, with the id and the name",
        tool(0, "c", "f", '{"a":{}'),
        tool(0, "c", "f", '{"a":{}}'),
        arguments='{"a":{}}',
    ),
    _one(
        "all arguments so far, by an index and the name",
        tool(0, "c", "f", '{"a":{}'),
        tool(0, None, "f", '{"a":{},'),
        tool(0, None, "f", '{"a":{},"b":2}'),
        arguments='{"a":{},"b":2}',
    ),
    _one(
        "all arguments so far, each made a whole object",
        tool(0, "c", "f", '{"a":"Pa"}'),
        tool(0, "c", "f", '{"a":"Paris"}'),
        tool(0, "c", "f", '{"a":"Paris","b":[1]}'),
        arguments='{"a":"Paris","b":[1]}',
    ),
    _one(
        "all arguments so far, as objects",
        tool(0, "c", "f", {}),
        tool(0, arguments={"a": 1}),
        tool(0, arguments={"a": 1, "b": 2}),
        arguments='{"a": 1, "b": 2}',
    ),
    _one(
        "pieces that look like what went before",
        tool(0, "c", "f", '{"a":'),
        tool(0, arguments='{"a":'),
        tool(0, arguments='{"a":'),
        tool(0, arguments='{"b":"}{"}}}'),
        tool(0, arguments="}"),
        arguments='{"a":{"a":{"a":{"b":"}{"}}}}',
    ),
    _one(
        "objects within a text, in pieces",
        tool(0, "c", "f", '{"a":"'),
        *(tool(0, "c", "f", "{}") for _ in range(3)),
        tool(0, "c", "f", '"}'),
        arguments='{"a":"{}{}{}"}',
    ),
    *(
        _one(
            f"whole once more, at the end: {name}",
            tool(0, "c", "f", '{"a":'),
            tool(0, arguments="1}"),
            again,
            arguments=again["function"]["arguments"],
        )
        for name, again in (
            ("by its id", tool(0, "c", None, '{"a":1}')),
            ("by its index and name", tool(0, None, "f", '{"a":1}')),
            ("by its index", tool(0, None, None, '{"a":1}')),
            ("written otherwise", tool(0, "c", "f", '{"a": 1}')),
        )
    ),
    _called(
        "all calls so far in the message of each event",
        stream(
            _message(tool(0, "c", "f", '{"a"')),
            _message(tool(0, "c", "f", '{"a":1}')),
            _message(tool(0, "c", "f", '{"a":1}'), tool(1, "d", "f", "{}"), finish="tool_calls"),
        ),
        ToolCall("c", "f", '{"a":1}'),
        ToolCall("d", "f", "{}"),
    ),
    _called(
        "the old form in the message of each event",
        stream(
            *(
                {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
                for message, reason in (
                    ({"function_call": {"name": "f", "arguments": '{"a"'}}, None),
                    ({"function_call": {"name": "f", "arguments": '{"a":1}'}}, "function_call"),
                )
            )
        ),
        ToolCall(MADE_UP, "f", '{"a":1}'),
    ),
    _called(
        "the calls of the deltas in a message as well",
        stream(
            tools(tool(0, "c", "f", '{"a":')),
            tools(tool(0, arguments="1}")),
            _message(tool(0, "c", "f", '{"a":1}'), finish="tool_calls"),
        ),
        ToolCall("c", "f", '{"a":1}'),
    ),
    _called(
        "whole, in the last event",
        stream(
            text(""),
            tools(tool(0, "c", "f", '{"a":1}'), tool(1, "d", "g", "{}"), finish="tool_calls"),
        ),
        ToolCall("c", "f", '{"a":1}'),
        ToolCall("d", "g", "{}"),
    ),
    _calls(
        "indices that begin with 1",
        tool(1, "c", "f", '{"a":'),
        tool(2, "d", "g", "{"),
        tool(1, arguments="1}"),
        tool(2, arguments="}"),
        expected=(ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g", "{}")),
    ),
    _calls(
        "out of order, and in turns",
        tool(1, "d", "g", '{"b":'),
        tool(0, "c", "f", '{"a":'),
        tool(1, arguments="2}"),
        tool(0, arguments="1}"),
        expected=(ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g", '{"b":2}')),
    ),
    _calls(
        "in turns by their ids, all at index 0",
        tool(0, "c", "f", '{"a":'),
        tool(0, "d", "g", '{"b":'),
        tool(0, "c", None, "1}"),
        tool(0, "d", None, "2}"),
        expected=(ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g", '{"b":2}')),
    ),
    _calls(
        "one id for two",
        tool(0, "c", "f", "{}"),
        tool(1, "c", "g", "{}"),
        expected=(ToolCall("c", "f", "{}"), ToolCall(MADE_UP, "g", "{}")),
    ),
    _calls(
        "the function's name for an id, and two calls of it",
        tool(0, "f", "f", '{"a":1}'),
        tool(0, "f", "f", '{"a":2}'),
        expected=(ToolCall("f", "f", '{"a":1}'), ToolCall(MADE_UP, "f", '{"a":2}')),
    ),
    _calls(
        "several in the arguments of one",
        tool(0, "c", "f", '{"a":1}{"a":2}'),
        tool(0, arguments=' {"a":3}'),
        expected=(
            ToolCall("c", "f", '{"a":1}'),
            ToolCall(MADE_UP, "f", '{"a":2}'),
            ToolCall(MADE_UP, "f", '{"a":3}'),
        ),
    ),
    _one("arguments that are no JSON", tool(0, "c", "f", '{"a":1}{"a":'), arguments='{"a":1}{"a":'),
    Failed(
        name="more in the arguments of one than an answer may have",
        response=stream(tools(tool(0, "c", "f", '{"a":1}{"a":2}' * 65)), _END),
        code="provider_invalid_response",
        words="more than 128 tool calls",
        retryable=False,
    ),
    _called(
        "the old form, with all so far",
        stream(
            _old(name="f", arguments='{"a"'),
            _old(name="f", arguments='{"a":1}'),
            chunk(finish="function_call"),
        ),
        ToolCall(MADE_UP, "f", '{"a":1}'),
    ),
    _called(
        "the old form, whole, with an object, beside no calls of the new one",
        whole(
            {
                "choices": [
                    {
                        "message": {
                            "content": None,
                            "tool_calls": [],
                            "function_call": {"name": "f", "arguments": {"a": 1}},
                        },
                        "finish_reason": "function_call",
                    }
                ]
            }
        ),
        ToolCall(MADE_UP, "f", '{"a": 1}'),
    ),
    Answered(
        name="as parts of the content",
        response=whole(
            {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "text", "text": "Hm."},
                                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
                                {"type": "tool_use", "id": "d", "name": "f", "input": {}},
                            ]
                        },
                        "finish_reason": "tool_use",
                    }
                ]
            }
        ),
        text="Hm.",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", '{"a": 1}'), ToolCall("d", "f", "{}")),
    ),
    Answered(
        name="the old form, empty beside text",
        response=stream(
            chunk({"content": "Hi", "function_call": {"name": "", "arguments": ""}}),
            chunk({"content": "!", "function_call": None, "tool_calls": None}, "stop"),
        ),
        text="Hi!",
    ),
]
