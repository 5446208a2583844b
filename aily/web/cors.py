"""What pages of other origins may send to the REST API, and read of its answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings

from aily.environment import refuse

ALLOWED_HEADERS: tuple[str, ...] = (
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
#: Sent by OpenAI's clients, beside x-stainless-* (see `_STAINLESS`).
OPENAI_HEADERS = (
    "aily-deadline-seconds",
    "aily-lane",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-client-request-id",
)
#: OpenAI's clients describe themselves in headers that begin so.
_STAINLESS = "x-stainless-"
_STAINLESS_HEADERS = tuple(
    _STAINLESS + name
    for name in (
        *("lang", "package-version", "os", "arch", "runtime", "runtime-version", "async"),
        *("retry-count", "read-timeout", "timeout", "helper-method", "poll-helper"),
        "custom-poll-interval",
    )
)
#: Sent by clients of the MCP server.
MCP_HEADERS = ("mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name")
EXPOSED_HEADERS: tuple[str, ...] = (
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)
#: What OpenAI's clients read, beside those.
OPENAI_EXPOSED_HEADERS = (
    "Aily-Task-Id",
    "OpenAI-Processing-Ms",
    "Retry-After-Ms",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Requests",
    "X-Should-Retry",
)
#: For how long a browser may remember a preflight, as django-cors-headers has it.
_MAX_AGE_SECONDS = 86_400


def allowed_origins(origins: Sequence[str]) -> list[str]:
    """The origins as browsers write them, or `["*"]`. Raises ConfigurationError."""
    if "*" in origins:
        if len(origins) > 1:
            refuse("CORS_ALLOWED_ORIGINS must be * alone, or origins")
        return ["*"]
    return [_origin(origin.strip()) for origin in origins if origin.strip()]


URLS = r"^/api/"
#: The paths beside those whose preflights and headers are made here.
_OPENAI = "/v1/"
_MCP = "/mcp"


def response_headers(
    path: str, headers: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Headers for a response that does not pass through django-cors-headers: without them a page of
    an allowed origin could not read it."""
    if not settings.CORS_ALLOWED_ORIGINS and not _is_open_to_all():
        return []
    is_openai = path.startswith(_OPENAI)
    is_mcp = path == _MCP
    if not is_openai and not is_mcp and re.match(URLS, path) is None:
        return []
    found = [(b"vary", b"origin")]
    if (origin := _allowed(_value(headers, b"origin"))) is not None:
        exposed: tuple[str, ...] = EXPOSED_HEADERS
        if is_openai:
            exposed += OPENAI_EXPOSED_HEADERS
        elif is_mcp:
            exposed += ("Mcp-Session-Id",)
        found += [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", ", ".join(exposed).encode()),
        ]
    return found


def preflight_headers(scope: Mapping[str, Any]) -> dict[str, str] | None:
    """Headers of the answer to a preflight, beside those of every response; None: it is none, or
    its origin is not allowed."""
    if scope["method"] != "OPTIONS":
        return None
    headers = scope["headers"]
    is_asked = _value(headers, b"access-control-request-method") is not None
    if not is_asked or _allowed(_value(headers, b"origin")) is None:
        return None
    return {
        "access-control-allow-methods": ", ".join(settings.CORS_ALLOW_METHODS),
        "access-control-allow-headers": ", ".join(_allowed_headers(headers)),
        "access-control-max-age": str(_MAX_AGE_SECONDS),
    }


def _allowed_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the headers that a page may send, with those that OpenAI's clients keep adding."""
    known = [*ALLOWED_HEADERS, *OPENAI_HEADERS, *MCP_HEADERS, *_STAINLESS_HEADERS]
    asked = (_value(headers, b"access-control-request-headers") or b"").decode("latin1").lower()
    names = [name.strip() for name in asked.split(",")]
    return [
        *known,
        *(name for name in names if _NEW_STAINLESS.fullmatch(name) and name not in known),
    ]


def _is_open_to_all() -> bool:
    return bool(getattr(settings, "CORS_ALLOW_ALL_ORIGINS", False))


def _allowed(origin: bytes | None) -> bytes | None:
    """The value of Access-Control-Allow-Origin for a request of `origin`, None: no page of it."""
    if origin is None:
        return None
    if _is_open_to_all():
        return b"*"
    return origin if origin.decode("latin1") in settings.CORS_ALLOWED_ORIGINS else None


def _value(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)


_NEW_STAINLESS = re.compile(_STAINLESS + r"[a-z-]{1,50}", re.ASCII)
#: An origin without a path, a user, a wildcard or letters that browsers send as punycode.
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        refuse(
            "CORS_ALLOWED_ORIGINS must be a list of origins such as https://app.example, "
            f"without a path or a wildcard; not {text!r}"
        )
    scheme, host, port = match.groups()
    # Browsers leave the default port out.
    has_port = port is not None and port != _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}:{port}" if has_port else f"{scheme}://{host}"
