"""Every Redis key of the rates.

They stay on a single server (RATES_REDIS_URL): one script counts many subjects at once. The common
hash tag says so to a Redis Cluster.
"""

from __future__ import annotations


def rate(subject: str) -> str:
    """hash  start (Unix ms) of a subject's window, current and previous: requests counted"""
    return f"aily:rate:{{rates}}:{subject}"
