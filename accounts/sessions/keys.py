"""Every Redis key of the throttle of passwords and codes.

They stay on a single server (RATES_REDIS_URL): one script charges the gates of an account and of an
address together. The common hash tag says so to a Redis Cluster.
"""

from __future__ import annotations


def login(name: str) -> str:
    """A gate, a note that exempts from one, or a note that a refusal was logged, by its name."""
    return f"aily:login:{{login}}:{name}"
