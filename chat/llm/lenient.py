"""Reads what providers send in other shapes than most: only what matters has to be as expected.

A side field of another type (usage as text, an index that is none) costs that field, never the
answer. Half an emoji, NaN or bytes that are no UTF-8 cost nothing else either.
"""

from __future__ import annotations

import json

import msgspec

from chat.llm.errors import InvalidResponseError
from chat.llm.lenient_usage import (
    may_have_native_counts,
    read_counts,
    read_integer,
    read_usage,
)
from chat.llm.wire import (
    MISSING,
    WireAudio,
    WireChoice,
    WireChunk,
    WireFunction,
    WireGroq,
    WireMessage,
    WireName,
    WireToolCall,
    WireUsage,
    has_value,
    value_of,
)

#: Decoding into objects takes up to 15 ns a byte, and holds the event loop meanwhile.
MAX_BYTES = 4 * 1024 * 1024
#: Levels of parts within parts.
MAX_DEPTH = 4
MAX_QUOTED_CHARS = 200
MAX_DIGITS = 1000
#: Kinds of parts that are tool calls.
_CALLS = ("tool_use", "tool_call", "function_call")


def parse(data: bytes) -> object:
    """Decode JSON, however odd. Raises InvalidResponseError."""
    if len(data) > MAX_BYTES:
        raise InvalidResponseError(f"an event of {len(data)} bytes has an unknown shape")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_odd(data)
    except RecursionError as error:
        raise InvalidResponseError("the response is nested too deeply") from error


def _parse_odd(data: bytes) -> object:
    """Decode what msgspec refuses. Lone surrogates stay: the other half may come later."""
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False, parse_int=_integer)
    except RecursionError as error:
        raise InvalidResponseError("the response is nested too deeply") from error
    except ValueError as error:
        quoted = text.strip()[:MAX_QUOTED_CHARS]
        raise InvalidResponseError(f"the response is not the expected JSON: {quoted}") from error


def _integer(digits: str) -> int:
    """Zero for a number with more digits than Python converts: no count and no id has so many."""
    return int(digits) if len(digits) <= MAX_DIGITS else 0


def read_name(parsed: object) -> WireName:
    """Read the id, which may be a number, and the model."""
    if not isinstance(parsed, dict):
        return WireName()
    return WireName(_label(parsed.get("id")), _label(parsed.get("model")))


def read_chunk(parsed: object) -> WireChunk:
    """One event, or a whole response. Raises InvalidResponseError where its core is missing."""
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        raise InvalidResponseError(f"the response is not the expected JSON: {str(parsed)[:200]}")
    parsed = unwrapped(parsed)
    choices = parsed.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    if not isinstance(choices, list | None):
        raise InvalidResponseError(f"choices are no list: {str(choices)[:MAX_QUOTED_CHARS]}")
    groq = parsed.get("x_groq")
    return WireChunk(
        choices=[_choice(choice) for choice in choices or () if isinstance(choice, dict)],
        usage=read_counts(parsed),
        x_groq=_groq(groq) if isinstance(groq, dict) else None,
    )


def unwrapped(parsed: dict[str, object]) -> dict[str, object]:
    """What some gateways put into `data` or `result`, beside a code of their own."""
    if "choices" not in parsed:
        for name in ("data", "result"):
            inner = parsed.get(name)
            if isinstance(inner, dict) and "choices" in inner:
                return inner
    return parsed


def _groq(fields: dict[str, object]) -> WireGroq:
    return WireGroq(read_usage(fields.get("usage")), _raw(fields.get("error")))


def native_counts(data: bytes) -> WireUsage | None:
    """Token counts of an event that has them elsewhere than in `usage`, or by other names."""
    if len(data) > MAX_BYTES or not may_have_native_counts(data):
        return None
    try:
        parsed = parse(data)
    except InvalidResponseError:
        return None
    return read_counts(parsed) if isinstance(parsed, dict) else None


def reasoning_of(details: object) -> str:
    """The text of a vendor's list of reasoning parts."""
    text, reasoning = _texts(details, 0)
    return reasoning + text


def other_reasoning(message: WireMessage) -> str:
    if message.reasoning_text:
        return message.reasoning_text
    for field in (message.thinking, message.reasoning_details, message.thinking_blocks):
        if field and has_value(field) and (text := reasoning_of(value_of(field))):
            return text
    return ""


def _choice(choice: dict[str, object]) -> WireChoice:
    return WireChoice(
        index=read_integer(choice.get("index")) or 0,
        delta=_message(choice.get("delta")),
        message=_message(choice.get("message")),
        finish_reason=_reason(choice.get("finish_reason")),
        text=_text(choice.get("text")),
        error=_raw(choice.get("error") or _why_aborted(choice.get("finish_reason"))),
        usage=read_usage(choice.get("usage")),
        logprobs=_raw(choice.get("logprobs")),
    )


def _raw(value: object) -> msgspec.Raw:
    """A field as JSON; empty where there is none. Half an emoji is written escaped."""
    return msgspec.Raw(json.dumps(value).encode()) if value else MISSING


def _reason(value: object) -> str | None:
    """A finish reason: text, or an object or list with one item that holds it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    return value if isinstance(value, str) else None


def _why_aborted(reason: object) -> object:
    """SGLang's reason for giving up has words of its own."""
    return reason if isinstance(reason, dict) and reason.get("message") else None


def _message(message: object) -> WireMessage | None:
    if isinstance(message, str):
        return WireMessage(content=message)
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    text, reasoning = _texts(content, 0)
    thoughts = (
        reasoning_of(message.get(name))
        for name in (
            *("reasoning_content", "reasoning", "reasoning_text", "thinking"),
            *("reasoning_details", "thinking_blocks"),
        )
    )
    return WireMessage(
        content=text,
        reasoning_content=reasoning or next((thought for thought in thoughts if thought), None),
        refusal=_text(message.get("refusal")),
        tool_calls=_tool_calls(message.get("tool_calls") or _calls_in(content)),
        function_call=_function(message.get("function_call")),
        audio=_audio(message.get("audio")),
        images=_raw(bool(message.get("images")) or _has_other_parts(content)),
    )


def _audio(audio: object) -> WireAudio | None:
    return WireAudio(_text(audio.get("transcript"))) if isinstance(audio, dict) else None


def _has_other_parts(content: object) -> bool:
    """Whether content has parts that are not read, such as images."""
    kinds = (str(part.get("type") or "text") for part in _parts(content))
    return any(kind not in _CALLS and not _is_read(kind) for kind in kinds)


def _calls_in(content: object) -> list[object]:
    """Tool calls that are parts of the content, as Anthropic has them."""
    return [
        {**part, "arguments": part.get("arguments") or part.get("input")}
        for part in _parts(content)
        if part.get("type") in _CALLS
    ]


def _parts(content: object) -> list[dict[str, object]]:
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, dict)]


# --- Text ---------------------------------------------------------------------------------------
def _texts(content: object, depth: int) -> tuple[str, str]:
    """The text and the reasoning in content: text, a part, or a list of parts."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict) and depth < MAX_DEPTH:
        return _part(content, depth)
    if isinstance(content, list) and depth < MAX_DEPTH:
        pairs = [_texts(part, depth + 1) for part in content]
        return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)
    return _text(content) or "", ""


def _part(part: dict[str, object], depth: int) -> tuple[str, str]:
    kind = str(part.get("type") or "text")
    text = "".join(
        "".join(_texts(part[name], depth + 1))
        for name in ("thinking", "reasoning", "summary", "text", "content", "refusal")
        if name in part
    )
    if _is_thought(kind) or "thinking" in part:
        return "", text
    return (text, "") if _is_read(kind) else ("", "")


def _is_thought(kind: str) -> bool:
    return "think" in kind or "reason" in kind


def _is_read(kind: str) -> bool:
    return _is_thought(kind) or "text" in kind or kind == "refusal"


def _text(value: object) -> str | None:
    """Text. A number or boolean is written as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _label(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


# --- Tool calls ---------------------------------------------------------------------------------
def _tool_calls(calls: object) -> list[WireToolCall] | None:
    if isinstance(calls, dict):
        is_by_index = "function" not in calls and all(key.isdecimal() for key in calls)
        calls = list(calls.values()) if is_by_index else [calls]
    if not isinstance(calls, list):
        return None
    return [_tool_call(call) for call in calls if isinstance(call, dict)]


def _tool_call(call: dict[str, object]) -> WireToolCall:
    function, extra = call.get("function"), call.get("extra_content")
    return WireToolCall(
        index=read_integer(call.get("index")),
        id=_label(call.get("id")),
        function=_function(function if isinstance(function, dict) else call),
        extra_content=_raw(extra),
    )


def _function(function: object) -> WireFunction | None:
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments") or function.get("parameters")
    if isinstance(arguments, dict | list):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return WireFunction(_label(function.get("name")), _text(arguments))
