"""Parts of a file, as a download that was broken off asks for the rest (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from chat.openai.errors import OpenAIError

_BYTES = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.ASCII)


def range_of(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """The places of the bytes that are asked for; None: all of them, as where several parts are.

    Raises OpenAIError (416) for a part that is not there.
    """
    header = headers.get("range", "")
    if not header or headers.get("if-range", etag) != etag:
        return None
    found = _BYTES.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    part = _part(first, last, size)
    if not part:
        raise OpenAIError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The file has {size} bytes.",
            param="Range",
            headers={"Content-Range": f"bytes */{size}", "x-should-retry": "false"},
        )
    return part


def _part(first: str, last: str, size: int) -> range:
    if not first:
        return range(max(size - int(last), 0), size)
    return range(int(first), min(int(last) + 1, size) if last else size)
