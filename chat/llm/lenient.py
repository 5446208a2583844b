"""Reads what providers send in other shapes than most: only what matters has to be as expected.

A side field of another type (usage as text, an index that is none) costs that field, never the
answer. Half an emoji, NaN or bytes that are no UTF-8 cost nothing else either.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from chat.llm.errors import InvalidResponseError
from chat.llm.wire import (
    WireChoice,
    WireChunk,
    WireCompletionDetails,
    WireFunction,
    WireGroq,
    WireMessage,
    WireName,
    WirePromptDetails,
    WireToolCall,
    WireUsage,
)

#: Decoding into objects takes up to 15 ns a byte, and holds the event loop meanwhile.
MAX_BYTES = 4 * 1024 * 1024
#: Of parts within parts.
MAX_DEPTH = 4
MAX_QUOTED_CHARS = 200
_MAX_DIGITS = 20
_COUNTS = tuple(
    name
    for name in WireUsage.__struct_fields__
    if name.endswith("_tokens") and not name.endswith("details")
)


def parse(data: bytes) -> Any:
    """Decode JSON, however odd. Raises InvalidResponseError."""
    if len(data) > MAX_BYTES:
        raise InvalidResponseError(f"an event of {len(data)} bytes has an unknown shape")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_odd(data)
    except RecursionError as error:
        raise InvalidResponseError("the response is nested too deeply") from error


def _parse_odd(data: bytes) -> Any:
    """Half an emoji stays half: its other half may come with the next event."""
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise InvalidResponseError("the response is nested too deeply") from error
    except ValueError as error:
        quoted = text.strip()[:MAX_QUOTED_CHARS]
        raise InvalidResponseError(f"the response is not the expected JSON: {quoted}") from error


def read_name(parsed: Any) -> WireName:
    """Ids that are numbers are ids too."""
    if not isinstance(parsed, dict):
        return WireName()
    return WireName(_label(parsed.get("id")), _label(parsed.get("model")))


def read_chunk(parsed: Any) -> WireChunk:
    """One event, or a whole response. Raises InvalidResponseError where its core is missing."""
    if not isinstance(parsed, dict):
        raise InvalidResponseError(f"the response is not the expected JSON: {str(parsed)[:200]}")
    choices = parsed.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    if not isinstance(choices, list | None):
        raise InvalidResponseError(f"choices are no list: {str(choices)[:MAX_QUOTED_CHARS]}")
    groq = parsed.get("x_groq")
    return WireChunk(
        choices=[_choice(choice) for choice in choices or () if isinstance(choice, dict)],
        usage=_usage(parsed.get("usage")),
        x_groq=WireGroq(_usage(groq.get("usage"))) if isinstance(groq, dict) else None,
    )


def reasoning_of(details: Any) -> str:
    """The words in a vendor's list of thoughts."""
    text, reasoning = _texts(details, 0)
    return reasoning + text


def _choice(choice: dict[str, Any]) -> WireChoice:
    return WireChoice(
        index=_integer(choice.get("index")) or 0,
        delta=_message(choice.get("delta")),
        message=_message(choice.get("message")),
        finish_reason=_reason(choice.get("finish_reason")),
        text=_words(choice.get("text")),
        usage=_usage(choice.get("usage")),
    )


def _reason(value: Any) -> str | None:
    """A word, or an object or list that holds one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    return value if isinstance(value, str) else None


def _message(message: Any) -> WireMessage | None:
    if isinstance(message, str):
        return WireMessage(content=message)
    if not isinstance(message, dict):
        return None
    text, reasoning = _texts(message.get("content"), 0)
    thoughts = (
        reasoning_of(message.get(name))
        for name in (
            *("reasoning_content", "reasoning", "thinking"),
            *("reasoning_details", "thinking_blocks"),
        )
    )
    return WireMessage(
        content=text,
        reasoning_content=reasoning or next((words for words in thoughts if words), None),
        refusal=_words(message.get("refusal")),
        tool_calls=_tool_calls(message.get("tool_calls")),
        function_call=_function(message.get("function_call")),
    )


# --- Text ---------------------------------------------------------------------------------------
def _texts(content: Any, depth: int) -> tuple[str, str]:
    """The text and the reasoning in content: text, a part, or a list of parts."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict) and depth < MAX_DEPTH:
        return _part(content, depth)
    if isinstance(content, list) and depth < MAX_DEPTH:
        pairs = [_texts(part, depth + 1) for part in content]
        return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)
    return _words(content) or "", ""


def _part(part: dict[str, Any], depth: int) -> tuple[str, str]:
    kind = str(part.get("type") or "text")
    words = "".join(
        "".join(_texts(part[name], depth + 1))
        for name in ("thinking", "reasoning", "summary", "text", "content", "refusal")
        if name in part
    )
    if "think" in kind or "reason" in kind or "thinking" in part:
        return "", words
    return (words, "") if "text" in kind or kind == "refusal" else ("", "")


def _words(value: Any) -> str | None:
    """Text; a number where text belongs stands for itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _label(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


# --- Tool calls ---------------------------------------------------------------------------------
def _tool_calls(calls: Any) -> list[WireToolCall] | None:
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        return None
    return [_tool_call(call) for call in calls if isinstance(call, dict)]


def _tool_call(call: dict[str, Any]) -> WireToolCall:
    function = call.get("function")
    return WireToolCall(
        index=_integer(call.get("index")),
        id=_label(call.get("id")),
        function=_function(function if isinstance(function, dict) else call),
    )


def _function(function: Any) -> WireFunction | None:
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return WireFunction(_label(function.get("name")), _words(arguments))


# --- Numbers ------------------------------------------------------------------------------------
def _usage(usage: Any) -> WireUsage | None:
    if not isinstance(usage, dict):
        return None
    counts: dict[str, Any] = {name: _integer(usage.get(name)) for name in _COUNTS}
    for name in ("prompt_tokens_details", "input_tokens_details"):
        counts[name] = WirePromptDetails(_detail(usage.get(name), "cached_tokens"))
    for name in ("completion_tokens_details", "output_tokens_details"):
        counts[name] = WireCompletionDetails(_detail(usage.get(name), "reasoning_tokens"))
    return WireUsage(**counts)


def _detail(details: Any, name: str) -> int | None:
    return _integer(details.get(name)) if isinstance(details, dict) else None


def _integer(value: Any) -> int | None:
    """A whole number, also one that is written as a fraction or as text."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
