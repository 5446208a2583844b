"""What can go wrong with a request, said once for REST and WebSocket alike.

Problem
├── InvalidRequest   invalid_request  400  a field is missing, wrong or unknown
├── Unauthenticated  unauthenticated  401  no valid session or key
├── Forbidden        forbidden        403  authenticated, but not allowed
├── NotFound         not_found        404  no such thing, or not yours
├── Conflict         conflict         409  the state does not allow it
├── TooLarge         too_large        413  body, frame or prompt over its limit
└── Unavailable      unavailable      503  a part aily needs is away; come back later

Apps add their own below these. REST renders them as RFC 9457 problem details (aily/rest.py), the
WebSocket as the `error` of a frame.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Root. `message` is for people, `code` for programs, `field` names the bad input."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Error"

    def __init__(
        self, message: str, *, field: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    def as_error(self) -> dict[str, Any]:
        """The `error` object of a WebSocket frame."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        if self.retry_after_seconds is not None:
            error["retry_after_seconds"] = self.retry_after_seconds
        return error


class InvalidRequest(Problem):
    code, status, title = "invalid_request", 400, "Invalid request"


class Unauthenticated(Problem):
    code, status, title = "unauthenticated", 401, "Authentication required"


class Forbidden(Problem):
    code, status, title = "forbidden", 403, "Forbidden"


class NotFound(Problem):
    code, status, title = "not_found", 404, "Not found"


class Conflict(Problem):
    code, status, title = "conflict", 409, "Conflict"


class TooLarge(Problem):
    code, status, title = "too_large", 413, "Too large"


class Unavailable(Problem):
    code, status, title = "unavailable", 503, "Temporarily unavailable"
