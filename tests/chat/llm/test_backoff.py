"""The wait before the next attempt grows, is spread, and respects the provider's wish."""

from __future__ import annotations

from random import Random

import pytest

from chat.llm.errors import OverloadedError, RateLimitError
from chat.llm.retry import backoff_seconds


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10_000, 60)]
)
def test_the_wait_doubles_up_to_a_minute_and_is_spread_over_its_upper_half(
    failures: int, ceiling: float
) -> None:
    rng = Random(1)
    waits = [backoff_seconds(failures, OverloadedError("busy"), rng) for _ in range(500)]
    assert ceiling / 2 <= min(waits) < ceiling * 0.55
    assert ceiling * 0.95 < max(waits) <= ceiling


def test_the_wait_is_never_shorter_than_retry_after() -> None:
    rng = Random(1)
    error = RateLimitError("slow down", retry_after_seconds=20)
    waits = [backoff_seconds(1, error, rng) for _ in range(100)]
    assert min(waits) >= 20
    assert max(waits) <= 21
    assert len(set(waits)) == 100, "callers sent away together must not return together"


def test_a_short_retry_after_does_not_shorten_the_wait() -> None:
    error = RateLimitError("slow down", retry_after_seconds=0)
    assert backoff_seconds(7, error, Random(1)) >= 30
