"""One request and its response: an id, a metric, a span, and the headers of every response."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from starlette.types import Message, Scope, Send

from aily.http.security import security_headers
from aily.observability import metrics, tracing
from aily.observability.context import begin_request
from aily.web import cors


class Exchange:
    """Wraps the ASGI `send` of a request, as the middleware ObserveRequests does for Django."""

    __slots__ = ("_began", "_id", "_send", "has_started", "route", "scope", "span")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._began = perf_counter()
        self.scope = scope
        self._send = send
        self._id = begin_request(self._header(b"x-request-id"))
        #: The template of the path, for metrics; empty for an unknown path.
        self.route = ""
        self.span: Any = None
        #: The response's head was sent: no error can be answered any more.
        self.has_started = False

    def traceparent(self) -> str:
        return self._header(b"traceparent") if tracing.is_on() else ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            self._observe(message["status"])
            message["headers"] = [*message["headers"], *self._headers()]
        await self._send(message)

    def _observe(self, status: int) -> None:
        method, seconds = self.scope["method"], perf_counter() - self._began
        metrics.http_request(method, self.route, status).observe(seconds)
        if self.span is not None:
            self.span.update_name(f"{method} {self.route}")
            self.span.set_attribute("http.response.status_code", status)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._id.encode()), *security_headers(self.scope)]
        return headers + cors.response_headers(self.scope["path"], self.scope["headers"])

    def _header(self, wanted: bytes) -> str:
        for name, value in self.scope["headers"]:
            if name == wanted:
                return str(value.decode("latin1"))
        return ""
