"""Vectors as they are stored and sent: pure data, without Django."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode

import msgspec

#: Bytes of a number in a vector.
FLOAT_BYTES = 4


def little_endian(floats: bytes) -> array[float]:
    """Decode 32-bit floats. Raises ValueError unless it is whole ones."""
    numbers = array("f", floats)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class Vectors(msgspec.Struct, frozen=True):
    """Vectors of one length, in the order of their inputs.

    `floats` are 32-bit, little-endian, of all vectors one after the other.
    """

    floats: bytes
    dimensions: int

    @property
    def bytes_each(self) -> int:
        return FLOAT_BYTES * self.dimensions

    @property
    def count(self) -> int:
        return len(self.floats) // self.bytes_each

    def in_base64(self) -> list[str]:
        """Each vector, as OpenAI sends it."""
        size = self.bytes_each
        starts = range(0, len(self.floats), size)
        return [b64encode(self.floats[start : start + size]).decode() for start in starts]
