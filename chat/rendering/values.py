"""Measures JSON values before anything works on them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chat.reasons import Reason, ReasonError

#: Longer numbers are texts in disguise, and arithmetic with them is not linear.
MAX_DIGITS = 100
_MAX_BITS = int(MAX_DIGITS * math.log2(10))


@dataclass(frozen=True, slots=True)
class Size:
    """`bytes`: of all texts and names, in UTF-8. `values`: of all kinds, those in others too."""

    bytes: int
    values: int


class OutOfBoundsError(ReasonError):
    """A value is larger than it may be."""


def measure(value: object, max_bytes: int, max_values: int, max_depth: int) -> Size:
    """The size of a value. Raises OutOfBoundsError at the first bound that is passed, so that
    measuring costs no more than the bounds allow."""
    total_bytes = total_values = 0
    level: list[object] = [value]
    for _ in range(max_depth + 1):
        total_values += len(level)
        if total_values > max_values:
            raise OutOfBoundsError(Reason.of("more_values", limit=max_values))
        below: list[object] = []
        for item in level:
            total_bytes += _add(item, below)
            if total_bytes > max_bytes:
                raise OutOfBoundsError(Reason.of("more_bytes", limit=max_bytes))
            if total_values + len(below) > max_values:
                raise OutOfBoundsError(Reason.of("more_values", limit=max_values))
        if not below:
            return Size(total_bytes, total_values)
        level = below
    raise OutOfBoundsError(Reason.of("more_levels", limit=max_depth))


def _add(item: object, below: list[object]) -> int:
    """Bytes of the value itself; what is in it is added to `below`."""
    if isinstance(item, str):
        return _length(item)
    if isinstance(item, dict):
        below.extend(item.values())
        return _length_of_all(item)
    if isinstance(item, list):
        below.extend(item)
    elif isinstance(item, int):
        if item.bit_length() > _MAX_BITS:
            raise OutOfBoundsError(Reason.of("more_digits", limit=MAX_DIGITS))
    elif isinstance(item, float) and not math.isfinite(item):
        raise OutOfBoundsError(Reason.of("number_too_large"))
    return 0


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _length_of_all(texts: Iterable[str]) -> int:
    return sum(map(_length, texts))
