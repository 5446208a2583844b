"""Ids that all log lines of one request or task have in common."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

#: The id of the HTTP request or WebSocket being handled.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: The task being handled.
task_id: ContextVar[str] = ContextVar("task_id", default="")

_worker_id = ""


def name_worker(worker_id: str) -> None:
    """Set the worker's id in this process's log lines."""
    global _worker_id
    _worker_id = worker_id


def worker_id() -> str:
    return _worker_id


def begin_request(given: str) -> str:
    """Set the request's id: `given` by the caller or a proxy if it is valid, else a new one."""
    own = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
    request_id.set(own)
    return own
