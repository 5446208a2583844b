"""Decodes JSON of REST bodies and WebSocket frames: only what PostgreSQL can store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from aily.problems import InvalidRequest

#: Nested containers. Deeper input could exhaust the stack of code that encodes it again.
MAX_DEPTH = 100


#: Types whose values all can be stored. Floats are checked: Python's parser reads infinity.
_HARMLESS = frozenset({int, bool, type(None)})


def decode_json(data: bytes | str) -> object:
    """Decode strict JSON: no NaN, no lone surrogates, no U+0000, at most `MAX_DEPTH` levels.

    Raises InvalidRequest, with the field if a single one is wrong.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _invalid(data, error) from None
    # The walks cost more than the decoding, so they are made only if they could find something.
    if b"\\u0000" in raw:
        _refuse_what_cannot_be_stored(value)
    elif raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_deep_nesting(value)
    return value


def _invalid(data: bytes | str, error: Exception) -> InvalidRequest:
    if isinstance(error, RecursionError):
        message = "This is not valid JSON: nested too deeply"
        return InvalidRequest(message, params={"rule": "too_deep"})
    try:
        # Python's own parser accepts lone surrogates and NaN, so their field can be found.
        found = _first_refused(json.loads(data))
    except (ValueError, RecursionError):
        found = None
    if found is None:
        return InvalidRequest(f"This is not valid JSON: {error}", params={"rule": "not_json"})
    field, unstorable = found
    message = f"This is not valid JSON: {unstorable.sentence}"
    return InvalidRequest(message, field=field, params=unstorable.params)


def _refuse_what_cannot_be_stored(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                # Lists of tokens have hundreds of thousands of numbers, which all can be stored.
                if not _HARMLESS.issuperset(map(type, item)):
                    below.extend(item)
            elif (unstorable := _unstorable(item)) is not None:
                field, first = _first_refused(value) or (None, unstorable)
                raise InvalidRequest(first.sentence, field=field, params=first.params)
        level = below
    raise _too_deep()


def _refuse_deep_nesting(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        # Rows of a table have tens of thousands of values, in a few levels.
        level = [item for item in below if type(item) is dict or type(item) is list]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidRequest:
    message = f"This JSON is nested more than {MAX_DEPTH} levels deep."
    return InvalidRequest(message, params={"rule": "more_levels", "limit": str(MAX_DEPTH)})


class _Unstorable(NamedTuple):
    sentence: str
    params: dict[str, str]


_NULL_CHARACTER = _Unstorable(
    "Text must not contain the character U+0000.", {"rule": "null_character"}
)
_HALF_CHARACTER = _Unstorable("Text has half a surrogate pair.", {"rule": "half_character"})
_NOT_FINITE = _Unstorable("A number is out of range.", {"rule": "number_too_large"})


def _unstorable(item: object) -> _Unstorable | None:
    """Why a string or number cannot be stored; None: it can.

    Half a surrogate pair and infinity only come from Python's own parser.
    """
    if isinstance(item, str):
        if "\0" in item:
            return _NULL_CHARACTER
        return None if item.isascii() or _is_unicode(item) else _HALF_CHARACTER
    if isinstance(item, float) and not math.isfinite(item):
        return _NOT_FINITE
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_refused(value: object, path: str = "") -> tuple[str | None, _Unstorable] | None:
    """The first wrong field, such as `messages.0.content`, and why; None: there is none."""
    if (unstorable := _unstorable(value)) is not None:
        return path or None, unstorable
    for name, item in _members(value):
        if (unstorable := _unstorable(name)) is not None:
            # A name that cannot be sent back: the error names its object.
            return path or None, unstorable
        if found := _first_refused(item, f"{path}.{name}" if path else str(name)):
            return found
    return None


def _members(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


# --- Lines --------------------------------------------------------------------------------------
#: Characters besides CR and LF that readers may treat as the end of a line, as `splitlines` does.
_LINE_ENDS = (
    (b"\xe2\x80\xa8", rb"\u2028"),
    (b"\xe2\x80\xa9", rb"\u2029"),
    (b"\xc2\x85", rb"\u0085"),
)


def one_line(text: bytes) -> bytes:
    """JSON in UTF-8, with all characters escaped that a reader could treat as the end of a line."""
    if text.isascii():
        return text
    for character, escaped in _LINE_ENDS:
        text = text.replace(character, escaped)
    return text


# --- Size ---------------------------------------------------------------------------------------
#: `5e300` has five bytes in a request, and 301 when PostgreSQL returns it.
_MAX_INFLATION = 64


def exceeds(value: object, max_bytes: int) -> bool:
    """Whether a value is larger as a jsonb: PostgreSQL returns 1e300 with all its zeros."""
    size = len(msgspec.json.encode(value))
    if size * _MAX_INFLATION <= max_bytes:
        return False
    return size + sum(map(_digits, _floats(value))) > max_bytes


def _digits(number: float) -> int:
    return len(format(Decimal(repr(number)), "f"))


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    for _, item in _members(value):
        yield from _floats(item)
