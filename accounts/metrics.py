"""What is counted of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from prometheus_client import Counter

_logins = Counter(
    "aily_logins_total", "Log-ins, and tries at one, by how they ended.", ["method", "outcome"]
)


@cache
def login(method: str, outcome: str) -> Counter:
    return _logins.labels(method, outcome)


def create_series(methods: Iterable[str], outcomes: Sequence[str]) -> None:
    """Begin all series at 0: Prometheus sees no increase in one that appears with its first try."""
    for method in methods:
        for outcome in outcomes:
            login(method, outcome)
