"""When to come back, in all the forms that servers say it; never a time that harms the caller."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.delivery.outcomes import wait_seconds
from chat.llm.retry_after import (
    MAX_SECONDS,
    parse_reset,
    parse_retry_after,
    retry_after_seconds,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("-5", 0),
        ("-1e400", None),
        ("1e12", MAX_SECONDS),
        ("1e300", MAX_SECONDS),
        ("1789000000", MAX_SECONDS),
        ("9" * 90, MAX_SECONDS),
        ("1m30s", 90),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MAX_SECONDS),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 99 Foo 2026 99:99:99 GMT", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("soon", None),
        ("", None),
        (" ", None),
        ("\x00", None),
        ("9" * 9999, None),
        ("1" * 50 + "s", None),
    ],
)
def test_retry_after_is_a_sane_number_or_nothing(value: str, seconds: float | None) -> None:
    parsed = parse_retry_after(value)
    assert parsed == seconds
    # Webhooks use the same, and the time has to fit a column.
    assert math.isfinite(wait_seconds(1, parsed))
    assert datetime.now(UTC) + timedelta(seconds=wait_seconds(1, parsed)) > datetime.now(UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("500ms", 0.5),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723),
        ("7us", 7e-6),
        ("1d", MAX_SECONDS),
        ("9999999h", MAX_SECONDS),
        ("12", 12),
        ("1s and more", None),
        ("s", None),
        ("1x", None),
        ("1" * 400 + "s", None),
    ],
)
def test_a_reset_is_a_duration_or_seconds(value: str, seconds: float | None) -> None:
    assert parse_reset(value) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "ISO", "ISO with Z", "HTTP"])
def test_a_reset_is_a_time_of_day(form: str) -> None:
    when = datetime.now(UTC) + timedelta(seconds=100)
    value = {
        "seconds": str(when.timestamp()),
        "milliseconds": str(int(when.timestamp() * 1000)),
        "ISO": when.isoformat(),
        "ISO with Z": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "HTTP": format_datetime(when, usegmt=True),
    }[form]
    seconds = parse_reset(value)
    assert seconds is not None
    assert 60 < seconds <= 100


def test_a_reset_that_is_past_is_now() -> None:
    assert parse_reset("1789000000") == 0 or datetime.now(UTC).timestamp() < 1789000000
    assert parse_reset("1000000001") == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after-ms": "1e400"}, None),
        ({"retry-after": "9", "x-ratelimit-reset-requests": "1s"}, 9),
        ({"x-ratelimit-reset-requests": "1s"}, 1),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "1000",
            },
            1,
        ),
        ({"x-ratelimit-reset": "junk", "ratelimit-reset": "7"}, 7),
    ],
)
def test_the_header_that_says_most_counts(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, is_throttled=True) == seconds


def test_resets_count_only_where_a_limit_was_met() -> None:
    headers = {"x-ratelimit-reset-requests": "9s"}
    assert retry_after_seconds(headers, is_throttled=False) is None
    assert retry_after_seconds({**headers, "retry-after": "3"}, is_throttled=False) == 3
