"""Reads JSON from outside, for REST bodies and WebSocket frames: only what PostgreSQL can store."""

from __future__ import annotations

from typing import Any

import msgspec

from aily.problems import InvalidRequest

#: Containers within containers. Deeper input could exhaust the stack of whoever writes it again.
MAX_DEPTH = 100


def decode_json(data: bytes | str) -> Any:
    """Decode strict JSON: no NaN, no lone surrogates, no U+0000, at most `MAX_DEPTH` levels.

    Raises InvalidRequest.
    """
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InvalidRequest(f"This is not valid JSON: {reason}") from None
    raw = data.encode() if isinstance(data, str) else data
    # The walk costs more than the decoding, so it is made only where it could find something.
    if b"\\u0000" in raw or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_what_cannot_be_stored(value)
    return value


def _refuse_what_cannot_be_stored(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and "\0" in item:
                raise InvalidRequest("Text must not contain the character U+0000.")
        level = below
    raise InvalidRequest(f"This JSON is nested more than {MAX_DEPTH} levels deep.")
