"""The simulated vectors: a function of the input, the number of dimensions and the seed.

Texts with words in common have similar vectors, so that a search by similarity can be tried.
"""

from __future__ import annotations

import base64
import math
import re
import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TypeGuard

from chat.llm.simulator.config import JsonObject
from chat.llm.simulator.directives import without_directives

DEFAULT_DIMENSIONS = 256
MAX_DIMENSIONS = 16_384
_WORD = re.compile(r"\w+")

#: A text, or a list of tokens.
Input = str | list[int]


def inputs_of(body: JsonObject) -> list[Input]:
    """The inputs of a request; empty if they are neither texts nor tokens."""
    given = body.get("input")
    if isinstance(given, str) or _are_tokens(given):
        return [given] if given else []
    if not isinstance(given, list):
        return []
    inputs: list[Input] = [item for item in given if isinstance(item, str) or _are_tokens(item)]
    return inputs if len(inputs) == len(given) and all(inputs) else []


def _are_tokens(given: object) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def prompt_text(inputs: Sequence[Input]) -> str:
    """What directives are looked for in: the last text."""
    return next((text for text in reversed(inputs) if isinstance(text, str)), "")


def count_tokens(inputs: Sequence[Input]) -> int:
    return sum(1 + len(given) // 4 if isinstance(given, str) else len(given) for given in inputs)


def vector_of(given: Input, dimensions: int, seed: int) -> array[float]:
    """The vector of an input, of length 1."""
    numbers = array("f", bytes(4 * dimensions))
    for word in _words_of(given):
        place, sign = _place_of(word, seed)
        numbers[place % dimensions] += sign
    # Every input has some number that is not zero, as texts without a word are vectors too.
    numbers[0] += 0.125
    length = math.sqrt(sum(number * number for number in numbers))
    return array("f", [number / length for number in numbers])


def embeddings(
    body: JsonObject, inputs: Sequence[Input], seed: int, *, has_usage: bool
) -> JsonObject:
    """The answer to a request for embeddings."""
    dimensions = body.get("dimensions") or DEFAULT_DIMENSIONS
    is_base64 = body.get("encoding_format") == "base64"
    vectors = (vector_of(given, dimensions, seed) for given in inputs)
    answer: JsonObject = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if is_base64 else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": body["model"],
    }
    if has_usage:
        tokens = count_tokens(inputs)
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer


def _words_of(given: Input) -> list[str]:
    if isinstance(given, str):
        return _WORD.findall(without_directives(given).lower())
    return [str(token) for token in given]


@lru_cache(maxsize=10_000)
def _place_of(word: str, seed: int) -> tuple[int, float]:
    """The number of a vector that a word changes, and how."""
    digest = blake2b(f"{seed}\0{word}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest[1:]), 1.0 if digest[0] & 1 else -1.0


def _base64(vector: array[float]) -> str:
    """32-bit floats, little-endian, as OpenAI sends them."""
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
