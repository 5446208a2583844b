"""Reads when to retry from the body of an error, of vendors that send no header that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chat.llm.retry_after import parse_reset, parse_retry_after, retry_after_seconds

#: Details that are looked at.
_MAX_DETAILS = 10
_MAX_HEADERS = 50
_MAX_VALUE_CHARS = 40
_IN_WORDS = re.compile(
    r"(?:again|retry|retrying|wait)(?: in| after)? "
    r"(\d{1,9}(?:\.\d{1,9})? ?(?:seconds?|minutes?|hours?)\b"
    r"|(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h)){1,4}\b)",
    re.IGNORECASE,
)
_IN_CHINESE = re.compile(r"(\d{1,9}) ?(秒|分钟|小时)(?:之?后|以后)")
_CHINESE_SECONDS = {"秒": 1, "分钟": 60, "小时": 3600}
#: Fields that say it in seconds, in lower case and without underscores.
_SECONDS = ("retryafter", "retryafterseconds", "retryin")
_MILLISECONDS = "retryafterms"


def hinted_seconds(detail: object, message: str) -> float | None:
    """Return the seconds to wait that an error's fields or, last, its words name; None if none.

    Google names them in `details`, OpenRouter repeats headers of the provider behind it.
    """
    if isinstance(detail, dict):
        for seconds in _of_fields(detail):
            if seconds is not None:
                return seconds
    if (found := _IN_WORDS.search(message)) is not None:
        return parse_retry_after(found[1].lower())
    if (found := _IN_CHINESE.search(message)) is not None:
        return parse_retry_after(str(int(found[1]) * _CHINESE_SECONDS[found[2]]))
    return None


def _of_fields(detail: Mapping[str, object]) -> Iterator[float | None]:
    plain = {name.replace("_", "").lower(): value for name, value in detail.items()}
    for name in _SECONDS:
        yield _read(plain.get(name))
    milliseconds = _read(plain.get(_MILLISECONDS))
    yield None if milliseconds is None else milliseconds / 1000
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


def _read(value: object) -> float | None:
    is_value = isinstance(value, str | int | float) and not isinstance(value, bool)
    return parse_retry_after(str(value)[:_MAX_VALUE_CHARS]) if is_value else None
