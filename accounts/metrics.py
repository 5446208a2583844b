"""Metrics of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from prometheus_client import Counter

_logins = Counter(
    "aily_logins_total", "Login attempts, by method and outcome.", ["method", "outcome"]
)


@cache
def login(method: str, outcome: str) -> Counter:
    """Return the counter of login attempts with this outcome."""
    return _logins.labels(method, outcome)


def create_series(methods: Iterable[str], outcomes: Sequence[str]) -> None:
    """Begin all series at 0: Prometheus sees no increase in one that appears with its first try."""
    for method in methods:
        for outcome in outcomes:
            login(method, outcome)
