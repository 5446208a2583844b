"""No vendor's: texts with odd characters, and those that repeat all so far."""

from __future__ import annotations

from typing import Any

from chat.llm.types import ToolCall
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    stream,
    text,
    tool,
    tools,
)

_FOUR = "One, two, three, four"


def _messages(*contents: str) -> list[dict[str, Any]]:
    """Events that have messages instead of deltas; the last has the finish reason."""
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "message": {"content": content}}]} for content in contents
    ]
    events[-1]["choices"][0]["finish_reason"] = "stop"
    return events


CASES: list[Case] = [
    Answered(
        name="half an emoji in each of two events",
        response=stream(
            b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n\n',
            STOP,
        ),
        text="a😀b",
    ),
    Answered(
        name="half an emoji of the reasoning, with text between",
        response=stream(
            b'data: {"choices":[{"delta":{"reasoning":"\\ud83d"}}]}\n\n',
            text("x"),
            b'data: {"choices":[{"delta":{"reasoning":"\\ude00"}}]}\n\n',
            STOP,
        ),
        text="x",
        reasoning="😀",
    ),
    Answered(
        name="half an emoji, and nothing more",
        response=stream(b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n', STOP),
        text="a\ufffd",
    ),
    Answered(
        name="bytes that are no UTF-8",
        response=stream(b'data: {"choices":[{"delta":{"content":"a\xffb"}}]}\n\n', STOP),
        text="a\ufffdb",
    ),
    Answered(
        name="control characters within a text",
        response=stream(b'data: {"choices":[{"delta":{"content":"a\tb"}}]}\n\n', STOP),
        text="a\tb",
    ),
    *(
        Answered(name=f"in each message {name}", response=stream(*_messages(*said)), text="Hey")
        for name, said in (
            ("all so far", ("He", "Hey", "Hey")),
            ("only what is new", ("He", "y", "")),
        )
    ),
    *(
        Answered(name=f"texts: {name}", response=stream(*map(text, said), STOP), text=expected)
        for name, said, expected in (
            ("all so far", ("One", "One, two", "One, two", "One, two, three, four"), _FOUR),
            ("all so far, of a short answer", ("H", "Hi", "Hi!"), "Hi!"),
            ("all so far, twice", ("One, two,", _FOUR), _FOUR),
            (
                "all so far, then only what is new",
                ("One", "One, ", "One, two, three,", " four"),
                _FOUR,
            ),
            ("that look like it", ("ha", "haha", "haha"), "hahahahaha"),
            ("that look like it for a while", ("-", "--", "---", "---", "|"), "---------|"),
            ("the same", ("ha", "ha", "ha"), "hahaha"),
            ("of a model that repeats itself", ("-" * 8, *["-" * 16] * 6), "-" * 104),
        )
    ),
    Answered(
        name="all so far in each text, and in the last with its finish reason",
        response=stream(text("One, two,"), text(_FOUR), text(_FOUR, "stop")),
        text=_FOUR,
    ),
    Answered(
        name="texts that look like all so far, before a call",
        response=stream(
            text("ha"), text("haha"), tools(tool(0, "c", "f", "{}"), finish="tool_calls")
        ),
        text="hahaha",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", "{}"),),
    ),
    Answered(
        name="in each message all so far, of the reasoning as well",
        response=stream(
            {"choices": [{"message": {"content": "", "reasoning_content": "Hm"}}]},
            {"choices": [{"message": {"content": "4", "reasoning_content": "Hm."}}]},
            *_messages("4"),
        ),
        text="4",
        reasoning="Hm.",
    ),
]
