"""What the log lines of one piece of work have in common."""

from __future__ import annotations

from contextvars import ContextVar

#: The X-Request-ID of the HTTP request, or of the WebSocket's, that is being worked on.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: The task that is being worked on.
task_id: ContextVar[str] = ContextVar("task_id", default="")
