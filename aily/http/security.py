"""What Django's SecurityMiddleware and CommonMiddleware do for requests that pass through them."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from aily.problems import InvalidRequest
from aily.web.middleware import CSPMiddleware, SecurityMiddleware, XFrameOptionsMiddleware

#: Hosts whose check is remembered: a client may make up any number of them.
_MAX_HOSTS = 256
_DEBUG_HOSTS = (".localhost", "127.0.0.1", "[::1]")


def check_host(scope: Scope) -> None:
    """Raises InvalidRequest for a Host that ALLOWED_HOSTS does not name."""
    host = _header(scope, b"host")
    if host is None:
        host = str((scope.get("server") or [""])[0])
    allowed = tuple(settings.ALLOWED_HOSTS)
    if not allowed and settings.DEBUG:
        allowed = _DEBUG_HOSTS
    if not _is_allowed(host, allowed):
        raise InvalidRequest("The Host of the request is not one of this server's.", field="Host")


@lru_cache(maxsize=_MAX_HOSTS)
def _is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def https_redirect(request: Request) -> Response | None:
    """Return the redirect of a request over plain HTTP where HTTPS is required, else None."""
    if not settings.SECURE_SSL_REDIRECT or _is_secure(request.scope):
        return None
    return RedirectResponse(str(request.url.replace(scheme="https")), status_code=301)


def _is_secure(scope: Scope) -> bool:
    if settings.BEHIND_PROXY:
        scheme = _header(scope, b"x-forwarded-proto")
        if scheme is not None:
            return scheme.split(",", 1)[0].strip() == "https"
    return bool(scope.get("scheme") == "https")


def security_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers that Django's middlewares add to every response."""
    values = tuple(getattr(settings, name) for name in _SETTINGS)
    return _of_middlewares(_is_secure(scope), values)


#: Settings that the headers depend on, beside the policy for contents, which is fixed.
_SETTINGS = (
    "SECURE_HSTS_SECONDS",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    "SECURE_HSTS_PRELOAD",
    "SECURE_REFERRER_POLICY",
    "X_FRAME_OPTIONS",
)


_BARE_SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}


@lru_cache(maxsize=_MAX_HOSTS)
def _of_middlewares(is_secure: bool, values: tuple[object, ...]) -> list[tuple[bytes, bytes]]:
    """Made by the middlewares themselves, once: they are the same for every response."""
    scope = {**_BARE_SCOPE, "scheme": "https" if is_secure else "http"}
    request = ASGIRequest(scope, BytesIO())
    response = HttpResponse()
    del response["Content-Type"]
    for middleware in (XFrameOptionsMiddleware, CSPMiddleware, SecurityMiddleware):
        middleware(lambda _: HttpResponse()).process_response(request, response)
    return [(name.encode("latin1"), value.encode("latin1")) for name, value in response.items()]


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin1"))
    return None
