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
from chat.llm.retry_hints import hinted_seconds
from chat.llm.vendor_errors import error_from_response


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
        ("5 seconds", 5),
        ("2 Min.", 120),
        ("1 hour 30 minutes", 5400),
        ("250 milliseconds", 0.25),
        ("PT1M30S", 90),
        ("pt5s", 5),
        ('"5"', 5),
        ("5;", 5),
        ("5, 10", 10),
        ("5, soon", None),
        ("5 apples", None),
        ("P1Y", None),
        ("-5s", None),
        ("nan", None),
        ("nan, nan", None),
        ("1e999, 5", None),
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
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "nan", "x-ms-retry-after-ms": "-1", "retry-after": "9"}, 0),
        ({"x-ratelimit-retry-after": "9"}, 9),
        ({"x-rate-limit-reset": "7"}, 7),
        ({"rate-limit-reset-requests": "7s"}, 7),
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


@pytest.mark.parametrize(
    ("detail", "seconds"),
    [
        ({"retry_after": 7}, 7),
        ({"retryAfter": "7s"}, 7),
        ({"retry_after_ms": 7000}, 7),
        ({"retry_after": True}, None),
        ({"retry_after": [7]}, None),
        ({"retry_after": "9" * 9999}, MAX_SECONDS),
        ({"message": "Please try again in 1m30s."}, 90),
        ({"message": "Please retry after 2 minutes"}, 120),
        ({"message": "TRY AGAIN IN 1M30S"}, 90),
        ({"message": "请求过于频繁，请 30 秒后重试"}, 30),
        ({"message": "请在2分钟之后再试"}, 120),
        ({"message": "2 seconds ago"}, None),
    ],
)
def test_an_error_says_it_in_its_fields_or_words(
    detail: dict[str, object], seconds: float | None
) -> None:
    assert hinted_seconds(detail, str(detail.get("message", ""))) == seconds


_RETRIED = {408, 409, 420, 423, 425, 429, 498, 499, *range(500, 531)}


@pytest.mark.parametrize("header", ["retry-after", "x-ratelimit-reset"])
def test_what_is_tried_again_and_which_wait_is_obeyed(header: str) -> None:
    """A reset is read where a limit was met: providers send it with each response."""
    statuses = [*range(300, 309), *range(400, 432), 451, 498, 499, *range(500, 531), 599, 999]
    found = {
        status: error_from_response(status, {header: "7"}, b'{"error":{"message":"x"}}', None)
        for status in statuses
    }
    retried = {status for status in statuses if found[status].retryable}
    assert retried == _RETRIED | {599, 999}
    waits = {status for status, error in found.items() if error.retry_after_seconds == 7}
    assert waits == (set(statuses) if header == "retry-after" else {420, 429})
