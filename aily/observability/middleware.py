"""HTTP: the duration of requests by route, and an id for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from aily.observability import metrics, tracing
from aily.observability.context import begin_request

_Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ObserveRequests:
    """The outermost middleware, so that it sees the responses of all others. Costs about 6 µs."""

    sync_capable = async_capable = True

    def __init__(self, get_response: _Handler) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        began = perf_counter()
        own_id = begin_request(str(request.META.get("HTTP_X_REQUEST_ID", "")))
        if self._is_async:
            return self._observe_async(request, own_id, began)
        with _span(request) as span:
            response = cast("HttpResponseBase", self._get_response(request))
            return _note(request, response, own_id, began, span)

    async def _observe_async(
        self, request: HttpRequest, own_id: str, began: float
    ) -> HttpResponseBase:
        with _span(request) as span:
            answer = cast("Awaitable[HttpResponseBase]", self._get_response(request))
            return _note(request, await answer, own_id, began, span)


def _span(request: HttpRequest) -> AbstractContextManager[Any]:
    parent = request.META.get("HTTP_TRACEPARENT", "")
    return tracing.span(request.method or "HTTP", kind="server", parent=parent)


def _note(
    request: HttpRequest, response: HttpResponseBase, own_id: str, began: float, span: Any
) -> HttpResponseBase:
    match = request.resolver_match
    route = match.route if match is not None else ""
    seconds = perf_counter() - began
    metrics.http_request(request.method or "", route, response.status_code).observe(seconds)
    response["X-Request-ID"] = own_id
    if span is not None:
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.response.status_code", response.status_code)
    return response
