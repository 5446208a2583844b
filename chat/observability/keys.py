"""Every Redis key of the traces."""

from __future__ import annotations


def trace(task_id: str) -> str:
    """string  the traceparent that a task was accepted under"""
    return f"aily:trace:{{{task_id}}}"
