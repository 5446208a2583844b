"""Reads vectors out of a provider's response.

OpenAI's form has them as base64 or as lists of numbers, whatever was asked for; Ollama's and
Cohere's as one list of lists. They are decoded one by one, so that a large answer does not hold the
event loop.
"""

from __future__ import annotations

import asyncio
import binascii
import math
import sys
from array import array
from collections.abc import Sequence

import msgspec

from chat.llm import lenient
from chat.llm.errors import (
    EmptyAnswerError,
    InvalidResponseError,
    ResultTooLargeError,
    redact,
)
from chat.llm.lenient_usage import read_counts, read_integer
from chat.llm.pages import plain_text
from chat.llm.steps import TURN_SECONDS
from chat.llm.types import Usage
from chat.llm.usage import add_usage
from chat.llm.vendor_errors import error_from_event, find_error
from chat.llm.wire import WireUsage
from chat.vectors import FLOAT_BYTES, Vectors, little_endian

#: Numbers in the vectors of the models that make the longest.
LONGEST_VECTOR = 4096
#: A response in base64, its vectors, and the statement that stores them.
MEMORY_PER_BYTE = 4
#: A number written as text takes up to 24 bytes, and mostly 12 to 22.
TEXT_BYTES_PER_BYTE = 6
#: What a response has beside its vectors.
_OTHER_BYTES = 1024 * 1024
#: Objects in a response, for each input and in all: what bounds the memory of decoding it.
_OBJECTS_PER_INPUT = 4
_OTHER_OBJECTS = 64
_MAX_ERROR_BYTES = 64 * 1024


class _Item(msgspec.Struct, gc=False):
    """One vector: text in base64, or a list of numbers."""

    embedding: msgspec.Raw
    index: int | None = None


class _Response(msgspec.Struct, gc=False):
    data: list[_Item] | None = None
    embeddings: list[msgspec.Raw] | None = None
    usage: WireUsage | None = None


_decoder = msgspec.json.Decoder(_Response)
_numbers = msgspec.json.Decoder(list[float])
_text = msgspec.json.Decoder(str)
_Undecodable = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def count_inputs(given: object) -> int:
    """How many vectors an `input` asks for: text and a list of tokens are one."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


def memory_of(count: int, dimensions: int | None, max_bytes: int) -> int:
    """About how many bytes a call for so many vectors takes: its response and what is made of it.

    Where the request does not say how long they are, as much as those of the longest models.
    """
    floats = min(count * (dimensions or LONGEST_VECTOR) * FLOAT_BYTES, max_bytes)
    return MEMORY_PER_BYTE * floats


def max_response_bytes(vector_bytes: int) -> int:
    """How large a response with so many bytes of vectors may be."""
    return TEXT_BYTES_PER_BYTE * vector_bytes + _OTHER_BYTES


async def read_vectors(
    content: bytes | bytearray, count: int, max_bytes: int, secret: str | None
) -> tuple[Vectors, Usage]:
    """The `count` vectors of a response, in the order of the inputs, and its usage.

    Raises ProviderError where it has others, or none.
    """
    response = _decode(content, count, secret)
    usage = _with_prompt(add_usage(Usage(), response.usage)) if response.usage else Usage()
    vectors = await _joined(_in_order(response, count), max_bytes)
    return vectors, usage


def _with_prompt(usage: Usage) -> Usage:
    """All tokens of embeddings are the prompt's, also where the provider names their sum alone."""
    if usage.prompt_tokens:
        return usage
    return msgspec.structs.replace(usage, prompt_tokens=usage.total_tokens)


def _decode(content: bytes | bytearray, count: int, secret: str | None) -> _Response:
    if content.count(b"{") > _OBJECTS_PER_INPUT * count + _OTHER_OBJECTS:
        raise InvalidResponseError(f"the response has far more than {count} vectors")
    try:
        response = _decoder.decode(content)
    except _Undecodable:
        response = _decode_odd(content)
    if not response.data and not response.embeddings:
        raise _no_vectors(content, secret)
    return response


def _decode_odd(content: bytes | bytearray) -> _Response:
    """Read what has another shape in what does not matter: an index or usage written as text."""
    parsed = lenient.parse(bytes(content)) if content.lstrip()[:1] in (b"{", b"[") else None
    if not isinstance(parsed, dict):
        return _Response()
    items = parsed.get("data")
    return _Response(
        data=[item for given in items if (item := _odd_item(given)) is not None]
        if isinstance(items, list)
        else None,
        usage=read_counts(parsed),
    )


def _odd_item(given: object) -> _Item | None:
    if not isinstance(given, dict) or not isinstance(given.get("embedding"), str | list):
        return None
    try:
        embedding = msgspec.json.encode(given["embedding"])
    except (UnicodeEncodeError, msgspec.EncodeError):
        return None
    return _Item(msgspec.Raw(embedding), read_integer(given.get("index")))


def _no_vectors(content: bytes | bytearray, secret: str | None) -> Exception:
    """Why a response with a good status has none: it is an error, a page, or empty."""
    if len(content) <= _MAX_ERROR_BYTES:
        if content.lstrip()[:1] not in (b"{", b"["):
            text = plain_text(content.decode("utf-8", "replace"))[: lenient.MAX_QUOTED_CHARS]
            return InvalidResponseError(f"the response is not the expected JSON: {text}")
        if (problem := find_error(lenient.parse(bytes(content)))) is not None:
            return error_from_event(problem, secret)
    begun = bytes(content[: lenient.MAX_QUOTED_CHARS]).decode("utf-8", "replace")
    return EmptyAnswerError(f"the answer has no vectors: {redact(begun, secret)}")


def _in_order(response: _Response, count: int) -> list[msgspec.Raw]:
    items = response.data or [_Item(vector) for vector in response.embeddings or ()]
    if len(items) != count:
        raise InvalidResponseError(f"the answer has {len(items)} vectors for {count} inputs")
    # Some give every vector the index 0.
    is_indexed = any(item.index for item in items)
    places = [
        item.index if is_indexed and item.index is not None else position
        for position, item in enumerate(items)
    ]
    if sorted(places) != list(range(count)):
        raise InvalidResponseError("the answer has two vectors of one index")
    vectors = [item.embedding for item in items]
    for place, item in zip(places, items, strict=True):
        vectors[place] = item.embedding
    return vectors


async def _joined(encoded: Sequence[msgspec.Raw], max_bytes: int) -> Vectors:
    """Decode all vectors. The event loop gets a turn meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TURN_SECONDS
    floats, size = bytearray(), 0
    for vector in encoded:
        decoded = _floats(vector)
        size = size or len(decoded)
        if len(decoded) != size:
            raise InvalidResponseError("the vectors of the answer differ in length")
        if size * len(encoded) > max_bytes:
            raise ResultTooLargeError(
                f"{len(encoded)} vectors of {size // FLOAT_BYTES} numbers are more than "
                f"{max_bytes} bytes: ask for fewer at once, or for fewer dimensions"
            )
        floats += decoded
        if loop.time() >= until:
            await asyncio.sleep(0)
            until = loop.time() + TURN_SECONDS
    return Vectors(bytes(floats), size // FLOAT_BYTES)


def _floats(vector: msgspec.Raw) -> bytes:
    """A vector as 32-bit floats, little-endian. Raises InvalidResponseError."""
    data = bytes(vector)
    try:
        if data.startswith(b'"'):
            encoded = data[1:-1] if b"\\" not in data else _text.decode(data).encode()
            floats = binascii.a2b_base64(encoded, strict_mode=True)
        else:
            floats = _encoded(_numbers.decode(data))
        # Neither NaN nor an infinite number survives in the sum, and JSON has no name for them.
        if floats and math.isfinite(sum(little_endian(floats))):
            return floats
    except (*_Undecodable, ValueError, OverflowError) as error:
        raise InvalidResponseError(f"a vector is neither numbers nor base64: {error}") from error
    raise InvalidResponseError("a vector is empty, or has a number that is not finite")


def _encoded(numbers: list[float]) -> bytes:
    floats = array("f", numbers)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()
