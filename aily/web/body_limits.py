"""Refuses a request's body before it is stored: if it is too large or the caller is unknown.

Django and Twisted write a body to memory or disk, whatever its size, before the view authenticates
the caller. So the request's head decides how large the body may be: REQUEST_MAX_BYTES (on single
paths more) with a valid key or session, ANONYMOUS_BYTES, enough for a login form, without. A REST
request without any credentials is answered before a byte of its body is read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import cast

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    HTTPRequestEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
)
from django.conf import settings
from django.db import DatabaseError

from aily.observability.context import begin_request
from aily.problems import (
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from aily.rest.openapi import PROBLEM_TYPE
from aily.web import cors

#: Largest body of a request without a valid key or session.
ANONYMOUS_BYTES = 65_536
#: How long the next bytes of a body are waited for. daphne waits as long by itself.
SILENT_SECONDS = 60.0
#: Under these paths every caller needs credentials.
_API = ("/api/", "/v1/", "/mcp")
_NO_CREDENTIALS = "Give an API key or a session."
_CREDENTIALS = (b"authorization", b"cookie")
#: Values of Content-Encoding that say that a body is not packed.
_UNPACKED = (b"", b"identity")

Headers = Iterable[tuple[bytes, bytes]]
#: Writes a problem at a path. Returns the media type and the body.
ErrorForm = Callable[[Problem, str], tuple[str, bytes]]
#: The form of refusals by the beginning of their paths; elsewhere they are problem documents.
error_forms: dict[str, ErrorForm] = {}
#: Returns the largest body, by the paths on which that is more than REQUEST_MAX_BYTES.
larger_bodies: dict[str, Callable[[], int]] = {}
#: The same for paths with an id in them: beginning and end of the path.
larger_bodies_between: dict[tuple[str, str], Callable[[], int]] = {}
#: Bytes of a form: its fields beside the file.
_FORM_BYTES = 1_048_576
#: Returns the caller of a request or handshake by the headers in its scope, or None if unknown.
Identify = Callable[[dict[str, object]], Awaitable[object | None]]


class SlowBody(Problem):
    """The client has stopped sending its request's body."""

    code, status, title = "request_timeout", 408, "Request timeout"


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The request body has more than {max_bytes} bytes.")


def problem_response(
    problem: Problem, path: str, request_headers: Headers = ()
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a refusal that passes through no application."""
    media_type, body = _form_at(path)(problem, path)
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", begin_request(_request_id(request_headers)).encode()),
    ]
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.retry_after_seconds is not None:
        headers.append((b"retry-after", str(problem.retry_after_seconds).encode()))
    headers += cors.response_headers(path, request_headers)
    return problem.status, headers, body


def _request_id(headers: Headers) -> str:
    return next((value.decode("latin1") for name, value in headers if name == b"x-request-id"), "")


def _form_at(path: str) -> ErrorForm:
    for prefix, form in error_forms.items():
        if path == prefix or path.startswith(prefix + "/"):
            return form
    return _problem_document


def _problem_document(problem: Problem, path: str) -> tuple[str, bytes]:
    body = json.dumps(
        {
            "type": f"urn:aily:problem:{problem.code}",
            "title": problem.title,
            "status": problem.status,
            "detail": problem.message,
            "instance": path,
            "code": problem.code,
        }
    ).encode()
    return PROBLEM_TYPE, body


def upload_bytes(setting: str) -> int:
    """Largest body of a form whose file is bounded by this setting."""
    return int(getattr(settings, setting)) + _FORM_BYTES


def _limit_of(path: str) -> int:
    """Largest body of a known caller. Daphne gives the path with its query."""
    limit: int = settings.REQUEST_MAX_BYTES
    path = path.partition("?")[0]
    if (larger := larger_bodies.get(path)) is not None:
        return max(larger(), limit)
    for (beginning, end), larger in larger_bodies_between.items():
        if path.startswith(beginning) and path.endswith(end):
            return max(larger(), limit)
    return limit


class BodyLimits:
    """Decides by a request's head how large its body may be."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def max_bytes(self, path: str, headers: Headers, size: int | None) -> int:
        """Largest size of a body with this declared size (None: chunked). Raises Problem."""
        limit = _limit_of(path)
        if size is not None and size > limit:
            raise too_large(limit)
        if size is not None and size <= ANONYMOUS_BYTES:
            return size
        if await self._is_known(headers):
            return limit
        if path.startswith(_API):
            raise Unauthenticated(_NO_CREDENTIALS)
        if size is not None:
            raise too_large(ANONYMOUS_BYTES)
        return min(ANONYMOUS_BYTES, limit)

    async def _is_known(self, headers: Headers) -> bool:
        try:
            return await self._identify({"headers": headers}) is not None
        except DatabaseError:
            raise Unavailable("The database is unavailable.", retry_after_seconds=5) from None


class LimitedBodies:
    """ASGI wrapper round the applications, for HTTP."""

    def __init__(self, app: ASGI3Application, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        scope = cast("HTTPScope", scope)
        size, has_credentials, encoding = _head(scope["headers"])
        if size == 0:
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], scope["headers"]
        if path.startswith(_API) and not has_credentials:
            await self._app(scope, _no_body(), send)
            return
        try:
            if encoding not in _UNPACKED:
                message = (
                    f"Send the body as it is: {encoding.decode('latin1')[:50]} is not unpacked."
                )
                raise UnsupportedMediaType(message, field="Content-Encoding")
            max_bytes = await self._limits.max_bytes(path, headers, size)
            await self._app(scope, _counted(receive, max_bytes), send)
        except Unauthenticated:
            # Django answers 401, or 404 for an unknown path.
            await self._app(scope, _no_body(), send)
        except Problem as problem:
            await refuse(problem, scope, send)


def _head(headers: Headers) -> tuple[int | None, bool, bytes]:
    """The body's declared size, 0 without a body, None for chunks; whether there are credentials;
    and how the body is packed."""
    size: int | None = 0
    has_credentials, encoding = False, b""
    for name, value in headers:
        if name == b"content-length":
            size = int(value) if value.isdigit() and size is not None else size
        elif name == b"transfer-encoding":
            size = None
        elif name in _CREDENTIALS:
            has_credentials = True
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    return size, has_credentials, encoding


def _no_body() -> ASGIReceiveCallable:
    """A `receive` that returns an empty body, and then waits: nothing is read."""
    is_first = True

    async def receive() -> ASGIReceiveEvent:
        nonlocal is_first
        if not is_first:
            await asyncio.get_running_loop().create_future()
        is_first = False
        return HTTPRequestEvent(type="http.request", body=b"", more_body=False)

    return receive


def _counted(receive: ASGIReceiveCallable, max_bytes: int) -> ASGIReceiveCallable:
    """A `receive` that raises TooLarge once the body has more bytes, and SlowBody where its next
    bytes do not come: each unfinished body holds memory."""
    size = 0
    is_whole = False

    async def counted() -> ASGIReceiveEvent:
        nonlocal size, is_whole
        if is_whole:
            # What comes after the body is that the client has gone.
            return await receive()
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                message = await receive()
        except TimeoutError:
            raise SlowBody(f"The rest of the body did not come for {SILENT_SECONDS:g} s.") from None
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
        if size > max_bytes:
            raise too_large(max_bytes)
        return message

    return counted


async def refuse(problem: Problem, scope: HTTPScope, send: ASGISendCallable) -> None:
    """Respond with a problem, in the form of the path, and let the connection be closed."""
    status, headers, body = problem_response(problem, scope["path"], scope["headers"])
    await send(
        HTTPResponseStartEvent(
            type="http.response.start", status=status, headers=headers, trailers=False
        )
    )
    await send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))
