"""Refuses a request's body before it is stored: one that is too large, or of nobody known.

Django and Twisted write a body to memory or disk, whatever its size, before anybody asks who sent
it. So how large it may be is decided by the request's head: REQUEST_MAX_BYTES for those whose key
or session is good, ANONYMOUS_BYTES for all others, as a login form needs. Whoever gives no
credentials at all is answered by REST without a byte of the body being read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from aily.problems import Problem, TooLarge, Unauthenticated, Unavailable
from aily.rest.openapi import PROBLEM_TYPE

#: Of a request without a good key or session.
ANONYMOUS_BYTES = 65_536
_API = "/api/"
_NO_CREDENTIALS = "Give an API key or a session."
_CREDENTIALS = (b"authorization", b"cookie")

Headers = Iterable[tuple[bytes, bytes]]
Scope = dict[str, Any]
#: Who a handshake or request comes from, by its headers; None: nobody known.
Identify = Callable[[Scope], Awaitable[object | None]]


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The request body has more than {max_bytes} bytes.")


def problem_response(problem: Problem, path: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a refusal for which Django is not asked."""
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
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.retry_after_seconds is not None:
        headers.append((b"retry-after", str(problem.retry_after_seconds).encode()))
    return problem.status, headers, body


class BodyLimits:
    """Decides about bodies by a request's head."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def max_bytes(self, path: str, headers: Headers, size: int | None) -> int:
        """How large a body of this declared size (None: chunks) may be. Raises Problem."""
        most: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if size is not None and size > most:
            raise too_large(most)
        if size is not None and size <= ANONYMOUS_BYTES:
            return size
        if await self._is_known(headers):
            return most
        if path.startswith(_API):
            raise Unauthenticated(_NO_CREDENTIALS)
        if size is not None:
            raise too_large(ANONYMOUS_BYTES)
        return min(ANONYMOUS_BYTES, most)

    async def _is_known(self, headers: Headers) -> bool:
        try:
            return await self._identify({"headers": headers}) is not None
        except DatabaseError:
            raise Unavailable("The database is away.", retry_after_seconds=5) from None


class LimitedBodies:
    """ASGI wrapper round Django."""

    def __init__(self, app: Any, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        size, has_credentials = _head(scope["headers"])
        if size == 0:
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], scope["headers"]
        if path.startswith(_API) and not has_credentials:
            await self._app(scope, _no_body(), send)
            return
        try:
            max_bytes = await self._limits.max_bytes(path, headers, size)
            await self._app(scope, _counted(receive, max_bytes), send)
        except Unauthenticated:
            # Django says so, and what it says of paths that are not there.
            await self._app(scope, _no_body(), send)
        except Problem as problem:
            await _refuse(problem, path, send)


def _head(headers: Headers) -> tuple[int | None, bool]:
    """The body's declared size, 0 where there is none, None for chunks; and whether anybody says
    who they are."""
    size: int | None = 0
    has_credentials = False
    for name, value in headers:
        if name == b"content-length":
            size = int(value) if value.isdigit() and size is not None else size
        elif name == b"transfer-encoding":
            size = None
        elif name in _CREDENTIALS:
            has_credentials = True
    return size, has_credentials


def _no_body() -> Callable[[], Awaitable[dict[str, Any]]]:
    """A `receive` that tells of an empty body, and then of nothing: the request is answered before
    anything is read."""
    is_first = True

    async def receive() -> dict[str, Any]:
        nonlocal is_first
        if not is_first:
            await asyncio.get_running_loop().create_future()
        is_first = False
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


def _counted(receive: Any, max_bytes: int) -> Callable[[], Awaitable[Any]]:
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise too_large(max_bytes)
        return message

    return counted


async def _refuse(problem: Problem, path: str, send: Any) -> None:
    status, headers, body = problem_response(problem, path)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
