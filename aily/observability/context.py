"""What the log lines of one piece of work have in common."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

#: The id of the HTTP request, or of the WebSocket, that is being worked on.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: The task that is being worked on.
task_id: ContextVar[str] = ContextVar("task_id", default="")

_worker_id = ""


def name_worker(worker_id: str) -> None:
    """Say which worker this process is, in its lines."""
    global _worker_id
    _worker_id = worker_id


def worker_id() -> str:
    return _worker_id


def begin_request(given: str) -> str:
    """Set the request's id: the caller's or a proxy's, `given`, if that is one; else a new one."""
    own = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
    request_id.set(own)
    return own
