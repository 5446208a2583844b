"""The JSON in a model's answer: all of it, or what a fence of code or some words surround."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pydantic import JsonValue

_FENCE = "```"
_END_OF_THOUGHT = "</think>"
#: Fences of one answer that are looked into.
_MAX_FENCES = 5
_BRACKETS = {"{": "}", "[": "]"}


class NoJsonError(ValueError):
    """The text is no JSON; the message says where that shows."""


def parse(text: str) -> JsonValue:
    """The value of a JSON text, by the letter of RFC 8259: no NaN, no lone surrogates.

    Raises NoJsonError.
    """
    try:
        value: JsonValue = msgspec.json.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NoJsonError(str(error)) from None
    except RecursionError:
        raise NoJsonError("it is nested too deeply") from None
    return value


def candidates(text: str) -> Iterator[str]:
    """The text itself, and the parts of it that may be meant as the JSON that was asked for."""
    yield text
    _, mark, rest = text.rpartition(_END_OF_THOUGHT)
    if mark and rest.strip():
        # What a model has thought, which some servers leave in its text.
        text = rest
        yield text
    yield from _fenced(text)
    for opening, closing in sorted(_BRACKETS.items(), key=lambda pair: _position(text, pair[0])):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            yield text[start : end + 1]


def _fenced(text: str) -> Iterator[str]:
    """What stands between pairs of fences, without the name of a language."""
    parts = text.split(_FENCE, 2 * _MAX_FENCES)
    for part in parts[1::2]:
        language, newline, code = part.partition("\n")
        has_language = newline and language.strip().isalnum()
        yield (code if has_language else part.removeprefix("json")).strip()


def _position(text: str, bracket: str) -> int:
    position = text.find(bracket)
    return len(text) if position < 0 else position
