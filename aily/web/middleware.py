"""Django's middlewares, with their steps on the event loop instead of on a thread.

In an async handler Django runs each `process_request`, `process_view` and `process_response` of its
middlewares on a thread: fifteen hops a request, for steps of microseconds that wait for nothing
(docs/performance.md). The subclasses here run these steps directly. Under a synchronous handler,
such as the one of Django's test client, they behave like their base classes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, sync_to_async
from csp import middleware as csp
from django.contrib import messages
from django.contrib.auth import middleware as auth
from django.contrib.messages.middleware import MessageMiddleware as DjangoMessageMiddleware
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import clickjacking, common, csrf, security
from django.utils.deprecation import MiddlewareMixin


class OnLoop(MiddlewareMixin):
    """Runs the steps of one middleware on the event loop.

    Only for steps that wait for nothing, except where `_must_store` says otherwise.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        is_async: bool = iscoroutinefunction(self)
        if is_async:
            return self._call_on_loop(request)
        return super().__call__(request)

    async def _call_on_loop(self, request: HttpRequest) -> HttpResponseBase:
        process_request = getattr(self, "process_request", None)
        early = process_request(request) if process_request is not None else None
        response: HttpResponseBase = early or await self.get_response(request)  # type: ignore[misc]
        process_response = getattr(self, "process_response", None)
        if process_response is None:
            return response
        if _must_store(request):
            process_response = sync_to_async(process_response, thread_sensitive=True)
            response = await process_response(request, response)
        else:
            response = process_response(request, response)
        return response


def _must_store(request: HttpRequest) -> bool:
    """True if the session or the messages changed: the response step writes them."""
    session = getattr(request, "session", None)
    storage = messages.get_messages(request)
    return (session is not None and session.modified) or (
        isinstance(storage, BaseStorage) and (storage.used or storage.added_new)
    )


class SecurityMiddleware(OnLoop, security.SecurityMiddleware):
    pass


class CSPMiddleware(OnLoop, csp.CSPMiddleware):
    pass


class SessionMiddleware(OnLoop, sessions.SessionMiddleware):
    pass


class CommonMiddleware(OnLoop, common.CommonMiddleware):
    pass


class CsrfViewMiddleware(OnLoop, csrf.CsrfViewMiddleware):
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        super().__init__(get_response)
        is_async: bool = iscoroutinefunction(self)
        if is_async:
            # Django adapts a step that does not match its handler's mode by a hop to a thread.
            self.process_view = self._process_view_on_loop  # type: ignore[method-assign, assignment]

    async def _process_view_on_loop(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[object, ...],
        options: dict[str, object],
    ) -> HttpResponseBase | None:
        return super().process_view(request, view, args, options)


class AuthenticationMiddleware(OnLoop, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(OnLoop, DjangoMessageMiddleware):
    pass


class XFrameOptionsMiddleware(OnLoop, clickjacking.XFrameOptionsMiddleware):
    pass
