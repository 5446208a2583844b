"""Log probabilities of an answer's tokens, in the form of OpenAI's chat completions."""

from __future__ import annotations

import json
import math

import msgspec

from chat.llm.errors import AnswerTooLargeError
from chat.llm.types import storable
from chat.llm.wire import Anything

#: Bytes of one event's. Decoding holds the event loop for up to 15 ns a byte.
MAX_EVENT_BYTES = 4 * 1024 * 1024
_MAX_ALTERNATIVES = 20
#: What OpenAI writes for a token that cannot come.
_IMPOSSIBLE = -9999.0


class _Alternative(msgspec.Struct, gc=False):
    """A token that the model might have chosen."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Alternative, gc=False):
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Token] | None = None


_decode = msgspec.json.Decoder(_Logprobs).decode
_encode = msgspec.json.Encoder().encode


def read_logprobs(field: Anything) -> list[msgspec.Raw]:
    """The entry of each token, as JSON that can be stored. None where the provider has another
    form. Raises AnswerTooLargeError."""
    if len(field) > MAX_EVENT_BYTES:
        raise AnswerTooLargeError(f"log probabilities of one event are {len(field)} bytes")
    tokens = _read(field).content or ()
    return [msgspec.Raw(_encode(_storable(token))) for token in tokens]


def _read(field: Anything) -> _Logprobs:
    try:
        return _decode(field)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Takes half an emoji, and -Infinity.
        return msgspec.convert(json.loads(bytes(field)), _Logprobs)
    except (ValueError, RecursionError):
        return _Logprobs()


def _storable(token: _Token) -> _Token:
    """With all fields that OpenAI's clients require, and values that PostgreSQL can hold."""
    token.top_logprobs = (token.top_logprobs or [])[:_MAX_ALTERNATIVES]
    for entry in (token, *token.top_logprobs):
        entry.token = storable(entry.token)
        if not math.isfinite(entry.logprob):
            entry.logprob = _IMPOSSIBLE
    return token
