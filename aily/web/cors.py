"""What pages of other origins may send to the REST API, and read of its answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ALLOWED_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "last-event-id",
    "traceparent",
    "x-request-id",
)
EXPOSED_HEADERS = (
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)


def allowed_origins(origins: Sequence[str]) -> list[str]:
    """The origins as browsers write them, or `["*"]`. Raises ImproperlyConfigured."""
    if "*" in origins:
        if len(origins) > 1:
            raise ImproperlyConfigured("CORS_ALLOWED_ORIGINS must be * alone, or origins")
        return ["*"]
    return [_origin(origin.strip()) for origin in origins if origin.strip()]


URLS = r"^/api/"


def response_headers(
    path: str, headers: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Headers for a response that does not pass through django-cors-headers: without them a page of
    an allowed origin could not read it."""
    is_open_to_all = getattr(settings, "CORS_ALLOW_ALL_ORIGINS", False)
    allowed = [origin.encode() for origin in settings.CORS_ALLOWED_ORIGINS]
    if not (is_open_to_all or allowed) or re.match(URLS, path) is None:
        return []
    origin = next((value for name, value in headers if name == b"origin"), None)
    found = [(b"vary", b"origin")]
    if origin is not None and (is_open_to_all or origin in allowed):
        found += [
            (b"access-control-allow-origin", b"*" if is_open_to_all else origin),
            (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
        ]
    return found


#: An origin without a path, a user, a wildcard or letters that browsers send as punycode.
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        raise ImproperlyConfigured(
            "CORS_ALLOWED_ORIGINS must be a list of origins such as https://app.example, "
            f"without a path or a wildcard; not {text!r}"
        )
    scheme, host, port = match.groups()
    # Browsers leave the default port out.
    has_port = port is not None and port != _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}:{port}" if has_port else f"{scheme}://{host}"
