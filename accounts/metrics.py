"""What is counted of accounts."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter

_logins = Counter(
    "aily_logins_total", "Log-ins, and tries at one, by how they ended.", ["method", "outcome"]
)


@cache
def login(method: str, outcome: str) -> Counter:
    return _logins.labels(method, outcome)
