"""Oracle: an id of its own on each fragment, also on the last, empty one."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import Answered, Case, stream, tool, tools

CASES: list[Case] = [
    Answered(
        name="ids on all fragments",
        response=stream(
            {"choices": [{"index": 0, "delta": {"content": ""}}]},
            tools(tool(0, "chatcmpl-tool-a", "get_weather", "")),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "id": "call_b",
                                    "function": {"arguments": '{"city": "', "name": ""},
                                    "type": "function",
                                    "index": 0,
                                }
                            ]
                        },
                    }
                ]
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "id": "call_c",
                                    "function": {"arguments": 'Paris"}', "name": ""},
                                    "type": "function",
                                    "index": 0,
                                }
                            ]
                        },
                    }
                ]
            },
            {
                "choices": [
                    {
                        "finish_reason": "stop",
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "id": "call_d",
                                    "function": {"arguments": "", "name": ""},
                                    "type": "function",
                                    "index": 0,
                                }
                            ]
                        },
                    }
                ]
            },
        ),
        tool_calls=(ToolCall("chatcmpl-tool-a", "get_weather", '{"city": "Paris"}'),),
    ),
]
