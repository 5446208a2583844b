"""Credentials of a WebSocket handshake, and the Origin check for those a browser adds by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import ParseResult

from channels.security.websocket import OriginValidator
from django.conf import settings
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from accounts.authentication import Identity, identify_key, identify_session
from accounts.sessions.login_log import Origin
from accounts.sessions.user_sessions import note_use
from aily.database.threads import in_database
from aily.network.client_address import scope_address

#: Browsers cannot set headers on a WebSocket: they offer `aily.bearer.<key>` beside `aily.v1`.
#: It is a credential and is never echoed as the chosen subprotocol.
BEARER_SUBPROTOCOL = "aily.bearer."


Scope = dict[str, Any]
Application = Callable[[Scope, object, object], Awaitable[None]]


def _header(scope: Scope, name: bytes) -> str:
    for header, value in scope["headers"]:
        if header == name:
            return str(value.decode("latin1"))
    return ""


def bearer_key(scope: Scope) -> str | None:
    """Return the API key of a handshake: of the Authorization header, else of a subprotocol."""
    method, _, key = _header(scope, b"authorization").partition(" ")
    if method.lower() == "bearer":
        return key.strip()
    for subprotocol in scope.get("subprotocols", ()):
        if subprotocol.startswith(BEARER_SUBPROTOCOL):
            return str(subprotocol.removeprefix(BEARER_SUBPROTOCOL))
    return None


async def identify_websocket(scope: Scope, *, check: bool = False) -> Identity | None:
    """Return the identity behind a handshake, else None. A key that does not work is refused, with
    or without a session cookie.

    `check`: bypass this process's copies of keys and users.
    """
    key = bearer_key(scope)
    if key is not None:
        return await identify_key(key, check=check)
    cookies = parse_cookie(_header(scope, b"cookie"))
    session_key = cookies.get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return None
    identity = await in_database(identify_session, session_key, check=check)
    if identity is not None:
        await note_use(identity.user.pk, session_key, partial(_origin, scope))
    return identity


def _origin(scope: Scope) -> Origin:
    return Origin.at(scope_address(scope), _header(scope, b"user-agent"))


async def websocket_valid_seconds(scope: Scope) -> float:
    """Return how long the credentials of this socket are still valid; 0 if they are not."""
    identity = await identify_websocket(scope, check=True)
    return 0 if identity is None else identity.valid_seconds


class OriginRequiredForCookies:
    """ASGI wrapper: a handshake without a key must come from a page of this site, or gets a 403.

    Browsers send the session cookie with a socket that any page opens, and no same-origin rule
    stops them. A key is only sent by a client that has it. `keys_alone`: paths that take no
    cookie, and refuse a handshake without a key themselves.
    """

    def __init__(self, app: Application, keys_alone: Collection[str] = ()) -> None:
        self.app = app
        self._keys_alone = keys_alone

    async def __call__(self, scope: Scope, receive: object, send: object) -> None:
        app = self.app
        if bearer_key(scope) is None and scope["path"] not in self._keys_alone:
            app = _SiteOriginValidator(app, _site_origins(_header(scope, b"host")))
        await app(scope, receive, send)


def _site_origins(host: str) -> list[str]:
    """Return the origins of this site: the Host of the request, and CSRF_TRUSTED_ORIGINS.

    ALLOWED_HOSTS only limits the Host: it names no ports, and a host's ports share cookies.
    """
    # Channels writes a wildcard subdomain as ".example.com", Django as "*.example.com".
    origins = [origin.replace("://*.", "://.") for origin in settings.CSRF_TRUSTED_ORIGINS]
    domain, _ = split_domain_port(host)
    if domain and validate_host(domain, settings.ALLOWED_HOSTS):
        origins.append(f"https://{host}")
        if not settings.HTTPS:
            origins.append(f"http://{host}")
    return origins


class _SiteOriginValidator(OriginValidator):
    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        try:
            return bool(super().valid_origin(parsed_origin))
        except ValueError:  # a port that is no number
            return False
