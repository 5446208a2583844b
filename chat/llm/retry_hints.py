"""Reads when to retry from the body of an error, of vendors that send no header that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chat.llm.retry_after import parse_reset, retry_after_seconds

#: Details that are looked at.
_MAX_DETAILS = 10
_MAX_HEADERS = 50
_IN_WORDS = re.compile(
    r"(?:again|retry|retrying|wait)(?: in| after)? "
    r"(\d{1,9}(?:\.\d{1,9})? ?(?:seconds?|minutes?|hours?)\b"
    r"|(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h)){1,4}\b)",
    re.IGNORECASE,
)
_UNIT_WORD = re.compile(r" ?(second|minute|hour)s?$", re.IGNORECASE)


def hinted_seconds(detail: object, message: str) -> float | None:
    """Return the seconds to wait that an error's fields or, last, its words name; None if none.

    Google names them in `details`, OpenRouter repeats headers of the provider behind it.
    """
    if isinstance(detail, dict):
        for seconds in _of_fields(detail):
            if seconds is not None:
                return seconds
    found = _IN_WORDS.search(message)
    if found is None:
        return None
    return parse_reset(_UNIT_WORD.sub(lambda unit: unit[1][0].lower(), found[1].lower()))


def _of_fields(detail: Mapping[str, object]) -> Iterator[float | None]:
    details = detail.get("details")
    for part in details[:_MAX_DETAILS] if isinstance(details, list) else ():
        delay = part.get("retryDelay") if isinstance(part, dict) else None
        yield parse_reset(delay) if isinstance(delay, str) else None
    metadata = detail.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    if isinstance(headers, dict):
        given = list(headers.items())[:_MAX_HEADERS]
        yield retry_after_seconds(
            {name.lower(): str(value) for name, value in given}, is_throttled=True
        )
