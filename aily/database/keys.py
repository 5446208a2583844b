"""Every Redis key of the routing between primary and replica."""

from __future__ import annotations


def wrote(user_id: int) -> str:
    """string  set while a user reads from the primary, having just written"""
    return f"aily:wrote:{{{user_id}}}"
