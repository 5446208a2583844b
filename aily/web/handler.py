"""Django's way with requests, without a thread for each step of each middleware.

On an event loop Django runs every `process_request`, `process_view` and `process_response` of its
middlewares on a thread: fifteen hops a request and 2 ms CPU, for steps of microseconds that wait
for nothing. Here they run where they are. Views that are no coroutines have their thread as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

from aily.web.language import PageLocaleMiddleware

#: These wait for nothing, but where `_has_to_store` says so.
QUICK: tuple[type[MiddlewareMixin], ...] = (
    SecurityMiddleware,
    CSPMiddleware,
    SessionMiddleware,
    PageLocaleMiddleware,
    CommonMiddleware,
    CsrfViewMiddleware,
    AuthenticationMiddleware,
    MessageMiddleware,
    XFrameOptionsMiddleware,
)


def keep_on_loop() -> None:
    """Have the quick middlewares run on the event loop. For `AppConfig.ready`.

    Not as subclasses in MIDDLEWARE: Django's deployment checks look for the names there.
    """
    for middleware in QUICK:
        middleware.__acall__ = _call  # type: ignore[method-assign]


async def _call(self: Any, request: HttpRequest) -> Any:
    """`MiddlewareMixin.__acall__` without its hops."""
    response = self.process_request(request) if hasattr(self, "process_request") else None
    response = response or await self.get_response(request)
    if not hasattr(self, "process_response"):
        return response
    if _has_to_store(request):
        finish = sync_to_async(self.process_response, thread_sensitive=True)
        return await finish(request, response)
    return self.process_response(request, response)


def _has_to_store(request: HttpRequest) -> bool:
    """True where a session or messages were changed, that are to be written with the response."""
    session = getattr(request, "session", None)
    messages = getattr(request, "_messages", None)
    return (session is not None and session.modified) or (
        messages is not None and (messages.used or messages.added_new)
    )


class LoopHandler(ASGIHandler):
    """Django's ASGI application."""

    def __init__(self) -> None:
        super().__init__()
        # Each request has a context of its own, in which no connection is old.
        request_started.disconnect(reset_queries)
        request_started.disconnect(close_old_connections)

    def adapt_method_mode(
        self, is_async: bool, method: Callable[..., Any], *args: Any, **options: Any
    ) -> Callable[..., Any]:
        if not (is_async and isinstance(getattr(method, "__self__", None), QUICK)):
            return super().adapt_method_mode(is_async, method, *args, **options)

        async def on_loop(*call_args: Any, **call_options: Any) -> Any:
            return method(*call_args, **call_options)

        return on_loop
