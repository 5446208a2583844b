"""No vendor's: side fields of other types than expected, which cost themselves and no more."""

from __future__ import annotations

from typing import Any

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    MADE_UP,
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    stream,
    text,
    tool,
    tools,
    whole,
)


def _usage(name: str, usage: Any, expected: Usage) -> Answered:
    return Answered(
        name=f"usage: {name}",
        response=stream(text("Hi"), {**STOP, "usage": usage}),
        text="Hi",
        usage=expected,
    )


def _finish(name: str, reason: Any, expected: str = "stop") -> Answered:
    return Answered(
        name=f"finish reason: {name}",
        response=stream(text("Hi"), chunk(finish=reason)),
        text="Hi",
        finish_reason=expected,
    )


def _finishes(name: str, *reasons: str, expected: str) -> Answered:
    return Answered(
        name=f"finish reasons: {name}",
        response=stream(text("Hi"), *(chunk(finish=reason) for reason in reasons)),
        text="Hi",
        finish_reason=expected,
    )


def _call(name: str, *fragments: dict[str, Any], expected: tuple[ToolCall, ...]) -> Answered:
    return Answered(
        name=f"calls: {name}",
        response=stream(*(tools(fragment) for fragment in fragments), chunk(finish="tool_calls")),
        finish_reason="tool_calls",
        tool_calls=expected,
    )


_WHOLE = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}

_FOUR = "One, two, three, four"
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def _with_message(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _messages(*contents: str) -> list[dict[str, Any]]:
    """Events that have messages instead of deltas; the last has the finish reason."""
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "message": {"content": content}}]} for content in contents
    ]
    events[-1]["choices"][0]["finish_reason"] = "stop"
    return events


_WITH_PARAMETERS = {"name": "f", "parameters": {"a": 1}}

CASES: list[Case] = [
    _usage("texts", {"prompt_tokens": "3", "completion_tokens": "1.0"}, Usage(3, 1, 4)),
    _usage("fractions", {"prompt_tokens": 3.0, "completion_tokens": 1.5}, Usage(3, 1, 4)),
    _usage("a list", [1, 2], Usage()),
    _usage("a text", "none", Usage()),
    _usage("nulls", {"prompt_tokens": None, "completion_tokens": None}, Usage()),
    _usage("negative and enormous", {"prompt_tokens": -1, "completion_tokens": 10**30}, Usage()),
    _usage(
        "details of another type", {**counts(3, 1), "prompt_tokens_details": [1]}, Usage(3, 1, 4)
    ),
    _usage("truth", {"prompt_tokens": True, "completion_tokens": {}}, Usage()),
    _usage("a total alone", {"total_tokens": 9}, Usage(total_tokens=9)),
    Answered(
        name="usage: not a number",
        response=stream(
            text("Hi"),
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":NaN,'
            b'"completion_tokens":1,"x":-Infinity}}\n\n',
        ),
        text="Hi",
        usage=Usage(0, 1, 1),
    ),
    Answered(
        name="usage: empty after it was full",
        response=stream(text("Hi", usage=counts(3, 1)), {**STOP, "usage": {}}, chunk(usage=None)),
        text="Hi",
        usage=Usage(3, 1, 4),
    ),
    Answered(
        name="usage: a total that is less than its parts",
        response=stream(text("Hi", usage=counts(3, 1)), {**STOP, "usage": counts(0, 2)}),
        text="Hi",
        usage=Usage(3, 2, 5),
    ),
    Answered(
        name="usage: empty after a total with more than its parts",
        response=stream(
            text("Hi", usage={**counts(3, 1), "total_tokens": 9}), {**STOP, "usage": {}}
        ),
        text="Hi",
        usage=Usage(3, 1, 9),
    ),
    Answered(
        name="usage: of another type in a whole answer",
        response=whole({**_WHOLE, "usage": "lots", "id": 7, "model": None}),
        text="Hi",
        usage=Usage(),
    ),
    _finish("null until [DONE]", None),
    _finish("empty", ""),
    _finish("the word null", "null"),
    _finish("false", False),
    _finish("a number", 1),
    _finish("a list of one", ["length"], "length"),
    _finish("an object", {"type": "length"}, "length"),
    _finishes("stop after length", "length", "stop", expected="length"),
    _finishes("stop after another's word for it", "MAX_TOKENS", "STOP", expected="MAX_TOKENS"),
    _finishes("eos after a filter", "content_filter", "eos", expected="content_filter"),
    _finishes("length after stop", "stop", "length", expected="length"),
    Answered(
        name="finish reasons: length was premature, as more text shows",
        response=stream(text("H", "length"), text("i"), STOP),
        text="Hi",
    ),
    Answered(
        name="ids and indices of other types",
        response=stream(
            {
                "id": 17,
                "created": "now",
                "model": None,
                "choices": [{"index": "0", "delta": {"content": "H", "role": 1}}],
            },
            {"id": None, "choices": [{"index": None, "delta": {"content": "i"}}, None, 5]},
            {"id": {}, "choices": [{"index": 0.0, "delta": None, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Answered(
        name="events that say nothing",
        response=stream(
            *(b"data: null\n\n", b"data: {}\n\n", b"data: ping\n\n", b"data:\n\n"),
            *({"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{}]}),
            {"choices": [{"delta": None, "message": None}]},
            text("Hi"),
            {"choices": [], "error": None, "usage": None},
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="choices that are one",
        response=stream({"choices": {"index": 0, "delta": {"content": "Hi"}}}, STOP),
        text="Hi",
    ),
    Answered(
        name="content that is a number",
        response=stream(text("4"), text(2), STOP),
        text="42",
    ),
    Answered(
        name="reasoning that is an object, beside text",
        response=stream(chunk({"content": "Hi", "reasoning": {"content": "hm"}}), STOP),
        text="Hi",
        reasoning="hm",
    ),
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
    Failed(
        name="an event that is cut in the middle",
        response=stream(text("Hi"), b'data: {"choices":[{"delta":{"con\n\n', STOP),
        code="provider_invalid_response",
        words="not the expected JSON",
        retryable=True,
    ),
    Failed(
        name="choices that are none",
        response=stream({"choices": "text"}),
        code="provider_invalid_response",
        words="choices",
        retryable=True,
    ),
    Answered(
        name="errors that are empty",
        response=stream({**text("Hi"), "error": {}}, {**STOP, "error": []}),
        text="Hi",
    ),
    Answered(
        name="errors that are none",
        response=stream({**text("Hi"), "error": 0}, {**STOP, "error": "none"}),
        text="Hi",
    ),
    Answered(
        name="an empty error in a choice",
        response=stream({"choices": [{"index": 0, "delta": {"content": "Hi"}, "error": {}}]}, STOP),
        text="Hi",
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
        name="reasoning under another name",
        response=stream(chunk({"reasoning_text": "hm"}), text("Hi"), STOP),
        text="Hi",
        reasoning="hm",
    ),
    Answered(
        name="an index that begins with 1",
        response=stream(
            {"choices": [{"index": 1, "delta": {"content": "Hi"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Answered(
        name="an answer in a list",
        response=whole(
            [
                {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
            ].__repr__().replace("'", '"')
        ),
        text="Hi",
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
        name="a second choice that nobody asked for, after several events at once",
        response=stream(
            text("H"),
            text("i"),
            {"choices": [{"index": 1, "delta": {"content": "Other"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="finish reason: calls of tools, and there are none",
        response=stream(text("Hi"), chunk(finish="tool_calls")),
        text="Hi",
    ),
    Answered(
        name="within the data of a gateway",
        response=stream(
            {"code": 200, "data": text("H")},
            {"code": 0, "message": "ok", "result": text("i")},
            {"code": 200, "data": STOP},
        ),
        text="Hi",
    ),
    Answered(
        name="what was searched and cited, beside the text",
        response=stream(
            {**text("Hi"), "citations": ["u"], "search_results": [{"title": "t"}]},
            chunk({"content": "!", "annotations": [{"type": "url_citation"}]}),
            {**STOP, "citations": ["u"], "images": None},
        ),
        text="Hi!",
    ),
    Answered(
        name="reasoning that is a list of texts, and text as an object",
        response=stream(chunk({"reasoning_content": ["Hm", "."]}), text({"text": "4"}), STOP),
        text="4",
        reasoning="Hm.",
    ),
    Failed(
        name="an error in a choice that has an odd index",
        response=stream(
            text("Once"),
            {"choices": [{"index": "0", "delta": {}, "error": {"message": "Boom", "code": 502}}]},
        ),
        code="provider_error",
        words="Boom",
        retryable=True,
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
    Answered(
        name="usage: a number of more digits than Python converts",
        response=stream(
            text("Hi"),
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":'
            + b"9" * 5000
            + b',"completion_tokens":1}}\n\n',
        ),
        text="Hi",
        usage=Usage(0, 1, 1),
    ),
    Answered(
        name="the role with another index than the text",
        response=stream(
            chunk({"role": "assistant", "content": ""}),
            {"choices": [{"index": 1, "delta": {"content": "Hi"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Failed(
        name="a choice for each piece, of which only the last has a finish reason",
        response=stream(
            text("H"),
            {"choices": [{"index": 1, "delta": {"content": "i"}}]},
            {"choices": [{"index": 2, "delta": {}, "finish_reason": "stop"}]},
        ),
        code="provider_truncated",
        words="ended before",
        retryable=True,
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
    Answered(
        name="a refusal, as content as well",
        response=whole(_with_message(content="No.", refusal="No.")),
        text="No.",
    ),
    Answered(
        name="speech, of which the words are the text",
        response=whole(
            _with_message(content=None, audio={"id": "a", "data": "UklG", "transcript": "Hi"})
        ),
        text="Hi",
    ),
    Answered(
        name="speech in pieces",
        response=stream(
            chunk({"audio": {"id": "a", "transcript": "H"}}),
            chunk({"audio": {"transcript": "i", "data": "UklG"}}),
            chunk({"audio": {"data": "UklG"}, "content": None}),
            chunk({"audio": {"expires_at": 1}}),
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="images beside text",
        response=whole(_with_message(content=[{"type": "text", "text": "Look:"}, _IMAGE])),
        text="Look:",
    ),
    *(
        Failed(
            name=f"nothing that is kept: {name}",
            response=response,
            code="provider_empty",
            words=f"neither text nor a tool call, but {what}",
            retryable=False,
        )
        for name, response, what in (
            ("sound", whole(_with_message(content=None, audio={"data": "UklG"})), "audio"),
            ("a part", whole(_with_message(content=[_IMAGE])), "images or other parts"),
            ("images", whole(_with_message(content="", images=[_IMAGE])), "images or other parts"),
            ("images in pieces", stream(chunk({"images": [_IMAGE]}), STOP), "images or other"),
        )
    ),
    *(
        _finish(f"{reason!r}, another's word for {expected}", reason, expected)
        for reason, expected in (
            ("FINISH_REASON_STOP", "STOP"),
            ("FINISH_REASON_MAX_TOKENS", "MAX_TOKENS"),
            ("length_limit", "length"),
            ("context_length_exceeded", "length"),
            ("refusal", "content_filter"),
            ("LANGUAGE", "content_filter"),
            ("FINISH_REASON_SAFETY", "content_filter"),
        )
    ),
    *(
        Failed(
            name=f"finish reason: {reason}, by which it gave up",
            response=stream(text("Hi"), chunk(finish=reason)),
            code=code,
            words=f"gave up: {reason}",
            retryable=code != "provider_balance",
        )
        for reason, code in (
            ("connection_error", "provider_error"),
            ("system_error", "provider_error"),
            ("SERVER_TIMEOUT", "provider_error"),
            ("interrupted", "provider_error"),
            ("malformed_response", "provider_error"),
            ("server_overloaded", "provider_overloaded"),
            ("service_unavailable", "provider_overloaded"),
            ("rate_limit", "provider_rate_limited"),
            ("insufficient_quota", "provider_balance"),
        )
    ),
]
