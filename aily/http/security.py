"""What Django's SecurityMiddleware and CommonMiddleware do for requests that pass through them."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from aily.problems import InvalidRequest

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
    return bool(scope["scheme"] == "https")


def security_headers() -> list[tuple[bytes, bytes]]:
    headers = [(b"x-content-type-options", b"nosniff")]
    if settings.SECURE_HSTS_SECONDS:
        value = f"max-age={settings.SECURE_HSTS_SECONDS}"
        if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
            value += "; includeSubDomains"
        if settings.SECURE_HSTS_PRELOAD:
            value += "; preload"
        headers.append((b"strict-transport-security", value.encode()))
    return headers


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin1"))
    return None
