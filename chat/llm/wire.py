"""The fields we read of a provider's JSON; everything else in it is skipped undecoded."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from chat.llm.errors import InvalidResponseError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class WireFunction(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None


class WireMessage(msgspec.Struct, gc=False):
    """A `delta` of a stream or the whole `message` of a response that is none."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[WireToolCall] | None = None


class WireChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: WireMessage | None = None
    message: WireMessage | None = None
    finish_reason: str | None = None


class WirePromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class WireCompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: WirePromptDetails | None = None
    completion_tokens_details: WireCompletionDetails | None = None


class WireName(msgspec.Struct, gc=False):
    """What each event repeats, and the first is asked for."""

    id: str | None = None
    model: str | None = None


class WireChunk(msgspec.Struct, gc=False):
    """One event of a stream, or the whole of a response that is none."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(WireChunk)
_list_decoder = msgspec.json.Decoder(list[WireChunk])
_name_decoder = msgspec.json.Decoder(WireName)


def decode_chunk(data: bytes) -> WireChunk:
    """Decode one JSON object. Raises InvalidResponseError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_leniently(data)
    except RecursionError as error:
        raise InvalidResponseError("the response is nested too deeply") from error


def decode_chunks(array: bytes) -> list[WireChunk] | None:
    """Decode a JSON array of them, at a third of the cost of one by one. None where each has to be
    looked at by itself."""
    try:
        return _list_decoder.decode(array)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_name(data: bytes) -> WireName:
    """Of one JSON object; empty where it has none, or is none."""
    try:
        return _name_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return WireName()


def _decode_leniently(data: bytes) -> WireChunk:
    """Decode what the strict decoder refuses: lone surrogates and bytes that are no UTF-8.

    A model may well write half an emoji; that must not cost the rest of the answer.
    """
    try:
        parsed = json.loads(data.decode("utf-8", "replace"))
        text = _LONE_SURROGATE.sub("\ufffd", json.dumps(parsed, ensure_ascii=False))
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidResponseError(f"the response is not the expected JSON: {error}") from error
