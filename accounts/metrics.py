"""Metrics of accounts."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter

_logins = Counter(
    "aily_logins_total", "Login attempts, by method and outcome.", ["method", "outcome"]
)


@cache
def login(method: str, outcome: str) -> Counter:
    """Return the counter of login attempts with this outcome."""
    return _logins.labels(method, outcome)
