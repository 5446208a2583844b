"""Credentials of a WebSocket handshake, and the Origin check for those a browser adds by itself."""

from __future__ import annotations

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


def _header(scope: dict[str, Any], name: bytes) -> str:
    for header, value in scope["headers"]:
        if header == name:
            return str(value.decode("latin1"))
    return ""


def bearer_key(scope: dict[str, Any]) -> str | None:
    """The API key a handshake carries: from the Authorization header, else a subprotocol."""
    method, _, key = _header(scope, b"authorization").partition(" ")
    if method.lower() == "bearer":
        return key.strip()
    for subprotocol in scope.get("subprotocols", ()):
        if subprotocol.startswith(BEARER_SUBPROTOCOL):
            return str(subprotocol.removeprefix(BEARER_SUBPROTOCOL))
    return None


async def identify_websocket(scope: dict[str, Any], *, check: bool = False) -> Identity | None:
    """Who opens this socket. A key that does not work is refused, session cookie or not.

    With `check` what this process remembers of keys and users does not count.
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


def _origin(scope: dict[str, Any]) -> Origin:
    return Origin.at(scope_address(scope), _header(scope, b"user-agent"))


async def websocket_holds_seconds(scope: dict[str, Any]) -> float:
    """For how long what this socket was opened with still holds; 0: it does not any more."""
    identity = await identify_websocket(scope, check=True)
    return 0 if identity is None else identity.holds_seconds


class OriginRequiredForCookies:
    """ASGI wrapper: a handshake without a key must come from a page of this site, or gets a 403.

    Browsers send the session cookie along with a socket that any page opens, and no same-origin
    rule stops them; a key, in contrast, is only sent by whoever has it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        app = self.app
        if bearer_key(scope) is None:
            app = _SiteOriginValidator(app, _site_origins(_header(scope, b"host")))
        await app(scope, receive, send)


def _site_origins(host: str) -> list[str]:
    """Origins that count as this site: the Host asked for, and CSRF_TRUSTED_ORIGINS.

    ALLOWED_HOSTS says which hosts may be asked for. It is no list of origins: it names no ports,
    and cookies are shared between the ports of a host.
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
