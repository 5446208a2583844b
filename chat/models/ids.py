"""Primary keys that sort by time, so that indexes grow at one end."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """A UUIDv7 with its time in steps of 1/4096 ms (RFC 9562, section 6.2, method 3).

    Whole milliseconds, as libraries have them, would not tell a question from the answer before
    it: one is made by a worker, the other by a web process, in the same millisecond.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)


def is_own(value: UUID) -> bool:
    """False for what `uuid7` cannot have made: no row has it, so none need be looked for."""
    return value.version == 7


def first_id(at: datetime) -> UUID:
    """No key made at this moment or later is less, and all made before are."""
    return UUID(int=int(at.timestamp() * 1000) << 80)
