"""Reads when to retry from response headers, of providers and of webhook endpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Longer waits are cut: they are a mistake or an attack.
MAX_SECONDS = 24 * 3600.0
_MAX_CHARS = 100
_UNIT_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
}
_DURATION_PART = re.compile(r"(\d{1,15}(?:\.\d{0,15})?)(ns|us|µs|ms|s|m|h|d)")
_UNIT_WORD = re.compile(r"(millisecond|second|sec|minute|min|hour|hr|day)s?\b\.?", re.IGNORECASE)
_UNIT_OF_WORD = {"millisecond": "ms", "minute": "m", "min": "m"}
#: ISO 8601's form of a duration, of which only times are read.
_ISO_DURATION = re.compile(r"PT((?:\d{1,15}(?:\.\d{0,15})?[HMS]){1,3})")
#: Above the first a number is a time of day, in seconds since 1970; above the second in
#: milliseconds.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11
_RETRY_AFTER = (
    *("retry-after", "x-retry-after", "x-ratelimit-retry-after", "x-rate-limit-retry-after"),
    *("x-ratelimit-timeremaining",),
)
_RETRY_AFTER_MS = ("retry-after-ms", "x-ms-retry-after-ms")
_RESET = re.compile(
    r"(?:x-)?rate-?limit-(reset)(?:-.{1,40})?|anthropic-ratelimit-.{1,40}-(reset)", re.IGNORECASE
)
#: IETF's draft, in its older and its newer form.
_RATELIMIT = re.compile(r"(?:\breset=|;\s?t=)(\d{1,9})")


def retry_after_seconds(headers: Mapping[str, str], *, is_throttled: bool) -> float | None:
    """Return the seconds to wait, None if no header says so.

    Rate-limit reset headers are read only if `is_throttled`: providers send them with each
    response.
    """
    given = (
        *(_milliseconds(headers.get(name, "")) for name in _RETRY_AFTER_MS),
        *(parse_retry_after(headers.get(name, "")) for name in _RETRY_AFTER),
    )
    seconds = next((seconds for seconds in given if seconds is not None), None)
    if seconds is None and is_throttled:
        seconds = _until_reset(headers)
    return seconds


def parse_retry_after(value: str) -> float | None:
    """Seconds from now, between 0 and MAX_SECONDS, from a number, a date or a duration; None when
    empty or unreadable."""
    return _first(value, _number, _http_date, _duration, _iso_date, _longest)


def parse_reset(value: str) -> float | None:
    """Parse when a limit is reset, as providers write it: `1s`, `6m0s`, `500ms`, seconds, a time
    since 1970 or a date."""
    return _first(value, _number_or_epoch, _duration, _iso_date, _http_date)


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """The longest wait of the limits that are used up or, if none says so, of all limits."""
    waits: list[tuple[bool, float]] = []
    for name, value in headers.items():
        found = _RESET.fullmatch(name)
        seconds = parse_reset(value) if found else None
        if found and seconds is not None:
            group = found.lastindex or 1
            start, end = found.span(group)
            remaining = headers.get(f"{name[:start]}remaining{name[end:]}", "")
            waits.append((_is_none_left(remaining), seconds))
    draft = _RATELIMIT.search(headers.get("ratelimit", ""))
    if draft is not None:
        waits.append((True, min(float(draft[1]), MAX_SECONDS)))
    used_up = [seconds for is_used_up, seconds in waits if is_used_up]
    return max(used_up or [seconds for _, seconds in waits], default=None)


def _is_none_left(remaining: str) -> bool:
    with suppress(ValueError):
        return float(remaining[:_MAX_CHARS]) <= 0
    return False


def _first(value: str, *readers: Callable[[str], float | None]) -> float | None:
    value = value.strip("\"'; \t")
    if not value or len(value) > _MAX_CHARS:
        return None
    for read in readers:
        # TypeError: how some Pythons refuse a date; OverflowError: one beyond all years.
        with suppress(ValueError, TypeError, OverflowError):
            return _bounded(read(value))
    return None


def _bounded(seconds: float | None) -> float | None:
    """Clamp to 0..MAX_SECONDS; None if not finite."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), MAX_SECONDS)


def _number(value: str) -> float:
    return float(value)


def _milliseconds(value: str) -> float | None:
    return _first(value, lambda number: float(number) / 1000)


def _number_or_epoch(value: str) -> float:
    number = float(value)
    if number >= _EPOCH_MILLISECONDS:
        number /= 1000
    return number - datetime.now(UTC).timestamp() if number >= _EPOCH_SECONDS else number


def _http_date(value: str) -> float:
    return _from_now(parsedate_to_datetime(value))


def _iso_date(value: str) -> float:
    return _from_now(datetime.fromisoformat(value))


def _from_now(when: datetime) -> float:
    if when.tzinfo is None:  # the date said -0000, which means UTC, or nothing
        when = when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()


def _duration(value: str) -> float:
    iso = _ISO_DURATION.fullmatch(value.upper())
    value = iso[1].lower() if iso else _UNIT_WORD.sub(_unit, value)
    value = value.replace(" ", "")
    parts = _DURATION_PART.findall(value)
    if "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f"not a duration: {value}")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _unit(word: re.Match[str]) -> str:
    name = word[1].lower()
    return _UNIT_OF_WORD.get(name, name[0])


def _longest(value: str) -> float:
    """The longest of several waits, as a proxy writes a header that came twice."""
    return max(float(part) for part in value.split(","))
