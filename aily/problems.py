"""Errors of requests, shared by REST and WebSocket.

Problem
├── InvalidRequest   invalid_request  400  a field is missing, wrong or unknown
│   └── IdempotencyMismatch  idempotency_mismatch  422  same Idempotency-Key, other request
├── Unauthenticated  unauthenticated  401  no valid session or key
├── Forbidden        forbidden        403  authenticated, but not allowed
├── NotFound         not_found        404  it does not exist, or belongs to another user
├── MethodNotAllowed method_not_allowed  405  the path has no such method; Allow names those it has
├── Conflict         conflict         409  the state does not allow it
├── PreconditionFailed  precondition_failed  412  changed since the ETag in If-Match was read
├── TooLarge         too_large        413  body, frame or prompt over its limit
├── UnsupportedMediaType  unsupported_media_type  415  a body that is not application/json
├── LimitReached     limit_reached    429  a limit is reached; names it, and when to retry
│   └── RateLimited  rate_limited     429  too many requests a minute
├── Unexpected       internal_server_error  500  a fault in aily; see its log
└── Unavailable      unavailable      503  a server that aily needs is away; retry later
    ├── StorageFull  storage_full     503  a disk is full; reads go on
    └── Busy         busy             503  this process is at capacity; retry soon

Apps add their own below these. REST answers with RFC 9457 problem details
(aily/rest/problem_documents.py), the WebSocket with the `error` of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import ClassVar

#: Bounds of every Retry-After: clients give up on longer ones, and would flood with shorter ones.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 1, 600
#: Bounds of a problem's message and field.
MAX_MESSAGE_CHARS, MAX_FIELD_CHARS = 1000, 200


def retry_after(seconds: float) -> int:
    """Return `seconds` as a Retry-After: rounded up and within the bounds."""
    return max(math.ceil(min(seconds, MAX_RETRY_SECONDS)), MIN_RETRY_SECONDS)


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Root. `message` is for people, `code` for programs, `field` names the bad input. `params` is
    what else a text in another language needs."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: int | None = None,
        params: Mapping[str, str | float] | None = None,
    ) -> None:
        super().__init__(message)
        # Both may quote the request, which may be long.
        self.message = message[:MAX_MESSAGE_CHARS]
        self.field = field and field[:MAX_FIELD_CHARS]
        self.retry_after_seconds = retry_after_seconds
        self.params = dict(params or {})
        #: Headers of the REST response, beside Retry-After.
        self.headers: dict[str, str] = {}

    def details(self) -> dict[str, object]:
        """Return members that this kind of problem adds to a REST body and a frame's `error`."""
        return {"params": self.params} if self.params else {}

    def as_error(self) -> dict[str, object]:
        """Return the `error` object of a WebSocket frame."""
        error: dict[str, object] = {"code": self.code, "message": self.message, **self.details()}
        if self.field is not None:
            error["field"] = self.field
        if self.retry_after_seconds is not None:
            error["retry_after_seconds"] = self.retry_after_seconds
        return error


class InvalidRequest(Problem):
    code, status, title = "invalid_request", 400, "Invalid request"


class IdempotencyMismatch(InvalidRequest):
    code, status, title = "idempotency_mismatch", 422, "Idempotency key reused"


class Unauthenticated(Problem):
    code, status, title = "unauthenticated", 401, "Authentication required"


class Forbidden(Problem):
    code, status, title = "forbidden", 403, "Forbidden"


class NotFound(Problem):
    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Problem):
    code, status, title = "method_not_allowed", 405, "Method Not Allowed"

    def __init__(self, allowed: Collection[str]) -> None:
        names = ", ".join(sorted(allowed))
        super().__init__(f"Allowed here: {names}")
        self.headers["Allow"] = names


class Conflict(Problem):
    code, status, title = "conflict", 409, "Conflict"


class PreconditionFailed(Problem):
    code, status, title = "precondition_failed", 412, "Precondition failed"


class UnsupportedMediaType(Problem):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class TooLarge(Problem):
    code, status, title = "too_large", 413, "Too large"


class LimitReached(Problem):
    """`limit_name` is the limit's name in the settings of a user, `limit` its value."""

    code, status, title = "limit_reached", 429, "Limit reached"

    def __init__(
        self, message: str, *, limit_name: str, limit: int, retry_after_seconds: int
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.limit_name = limit_name
        self.limit = limit

    def details(self) -> dict[str, object]:
        return {"limit": {"name": self.limit_name, "value": self.limit}}


class RateLimited(LimitReached):
    code, title = "rate_limited", "Too many requests"


class Unexpected(Problem):
    code, status, title = "internal_server_error", 500, "Internal server error"


class Unavailable(Problem):
    code, status, title = "unavailable", 503, "Temporarily unavailable"


class StorageFull(Unavailable):
    """The disk of aily, PostgreSQL or Redis is full. Reads go on."""

    code, title = "storage_full", "Storage full"


#: Retry-After of Busy: most requests end sooner.
BUSY_RETRY_SECONDS = 1


class Busy(Unavailable):
    """All connections or slots of this process are in use, though no server is away."""

    code, title = "busy", "Busy"

    def __init__(self, message: str, *, retry_after_seconds: int = BUSY_RETRY_SECONDS) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
