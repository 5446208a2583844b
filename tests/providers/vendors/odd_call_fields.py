"""No vendor's: fields of tool calls that are missing, or of other types than expected."""

from __future__ import annotations

from typing import Any

from chat.llm.types import ToolCall
from tests.providers.playing import (
    MADE_UP,
    Answered,
    Case,
    chunk,
    stream,
    tool,
    tools,
    whole,
)


def _call(name: str, *fragments: dict[str, Any], expected: tuple[ToolCall, ...]) -> Answered:
    return Answered(
        name=f"calls: {name}",
        response=stream(*(tools(fragment) for fragment in fragments), chunk(finish="tool_calls")),
        finish_reason="tool_calls",
        tool_calls=expected,
    )


_WITH_PARAMETERS = {"name": "f", "parameters": {"a": 1}}

CASES: list[Case] = [
    _call(
        "an index that is a text",
        {**tool(None, "c1", "f", "{"), "index": "0"},
        {**tool(None, None, None, "}"), "index": "0"},
        expected=(ToolCall("c1", "f", "{}"),),
    ),
    _call(
        "fragments with neither id nor index belong to the latest",
        tool(0, "c1", "f", '{"a":'),
        tool(None, None, None, "1}"),
        tool(1, "c2", "g", '{"b":'),
        tool(None, None, None, "2}"),
        expected=(ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", '{"b":2}')),
    ),
    _call(
        "new ids without indices",
        tool(None, "c1", "f", '{"a":'),
        tool(None, None, None, "1}"),
        tool(None, "c2", "f", '{"a":'),
        tool(None, None, None, "2}"),
        expected=(ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "f", '{"a":2}')),
    ),
    _call(
        "a new id at an old index, and fragments with the index alone",
        tool(0, "c1", "f", '{"a":'),
        tool(0, None, None, "1}"),
        tool(0, "c2", "g", '{"b":'),
        tool(0, None, None, "2}"),
        expected=(ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", '{"b":2}')),
    ),
    _call(
        "the id and the name on each fragment",
        tool(0, "c1", "f", '{"a":'),
        tool(1, "c2", "f", '{"b":'),
        tool(0, "c1", "f", "1}"),
        tool(1, "c2", "f", "2}"),
        expected=(ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "f", '{"b":2}')),
    ),
    _call(
        "the name on each fragment, without an id",
        tool(0, None, "f", '{"a":'),
        tool(0, None, "f", '"}{"'),
        tool(0, None, "f", "}"),
        expected=(ToolCall(MADE_UP, "f", '{"a":"}{"}'),),
    ),
    _call(
        "blanks around a name, also where it comes in pieces",
        tool(0, "c1", " get_", None),
        tool(0, None, "weather \n", "{}"),
        tool(1, "c2", "\tget_time ", "{"),
        tool(1, None, "get_time", "}"),
        tool(2, "c3", " ", None),
        expected=(ToolCall("c1", "get_weather", "{}"), ToolCall("c2", "get_time", "{}")),
    ),
    _call(
        "the id only with the second fragment",
        tool(0, None, "f", ""),
        tool(0, "c1", None, "{}"),
        expected=(ToolCall("c1", "f", "{}"),),
    ),
    _call(
        "a number for an id, an object for arguments, null beside",
        {**tool(0, None, "f", {"a": [1]}), "id": 5, "type": None, "extra": None},
        expected=(ToolCall("5", "f", '{"a": [1]}'),),
    ),
    _call(
        "fragments that say nothing",
        {},
        {"index": 0, "type": "function", "function": {"name": None, "arguments": None}},
        tool(0, "c1", "f", "{}"),
        {"index": 1},
        expected=(ToolCall("c1", "f", "{}"),),
    ),
    Answered(
        name="calls: one that is no list, and none at all",
        response=stream(
            chunk({"tool_calls": tool(0, "c1", "f", "{}")}),
            chunk({"tool_calls": {}}),
            chunk({"tool_calls": "none"}),
            chunk(finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c1", "f", "{}"),),
    ),
    Answered(
        name="calls: whole, the same function twice, without ids",
        response=whole(
            {
                "choices": [
                    {
                        "message": {
                            "content": None,
                            "tool_calls": [
                                {"function": {"name": "f", "arguments": {"a": 1}}},
                                {"function": {"name": "f", "arguments": {"a": 2}}},
                            ],
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall(MADE_UP, "f", '{"a": 1}'), ToolCall(MADE_UP, "f", '{"a": 2}')),
    ),
    Answered(
        name="a call that is repeated, whole, at the end",
        response=stream(
            tools(tool(0, "c1", "f", '{"a":')),
            tools(tool(0, None, None, "1}")),
            tools(tool(0, "c1", "f", '{"a":1}'), finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c1", "f", '{"a":1}'),),
    ),
    Answered(
        name="a name in pieces",
        response=stream(
            tools(tool(0, "c", "get_", "")),
            tools(tool(0, None, "weather", "")),
            tools(tool(0, None, None, "{}")),
            chunk(finish="tool_calls"),
        ),
        text="",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "get_weather", "{}"),),
    ),
    *(
        Answered(
            name=f"calls: {name}",
            response=response,
            finish_reason="tool_calls",
            tool_calls=(ToolCall("c", "f", arguments),),
        )
        for name, response, arguments in (
            (
                "an empty object before the arguments",
                stream(
                    tools(tool(0, "c", "f", "{}")),
                    tools(tool(0, arguments='{"a":')),
                    tools(tool(0, arguments="1}"), finish="tool_calls"),
                ),
                '{"a":1}',
            ),
            ("none at all", stream(tools(tool(0, "c", "f"), finish="tool_calls")), "{}"),
            ("blank ones", stream(tools(tool(0, "c", "f", " "), finish="tool_calls")), "{}"),
            (
                "in a call that is flat",
                stream(
                    chunk({"tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]}),
                    chunk(finish="tool_calls"),
                ),
                "{}",
            ),
            (
                "as parameters",
                stream(
                    chunk({"tool_calls": [{"id": "c", "function": _WITH_PARAMETERS}]}),
                    chunk(finish="tool_calls"),
                ),
                '{"a": 1}',
            ),
            (
                "in the old form as well",
                stream(
                    chunk(
                        {
                            "function_call": {"name": "f", "arguments": "{}"},
                            "tool_calls": [tool(0, "c", "f", "{}")],
                        }
                    ),
                    chunk(finish="tool_calls"),
                ),
                "{}",
            ),
        )
    ),
    Answered(
        name="calls: by their indices",
        response=stream(
            chunk({"tool_calls": {"0": tool(0, "c", "f", "{}"), "1": tool(1, "d", "g", "{}")}}),
            chunk(finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", "{}"), ToolCall("d", "g", "{}")),
    ),
    _call(
        "arguments that are null, then an object",
        {"index": 0, "id": "c", "function": {"name": "f", "arguments": None}},
        tool(0, arguments='{"a":1}'),
        expected=(ToolCall("c", "f", '{"a":1}'),),
    ),
    _call(
        "arguments that are encoded twice",
        tool(0, "c", "f", r'"{\"a\":'),
        tool(0, arguments='1}"'),
        expected=(ToolCall("c", "f", '{"a":1}'),),
    ),
]
