"""Where calls of a tool server go, with the secret they need."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

import msgspec

from aily.concurrency.loops import per_loop
from aily.secrets.encryption import UnreadableSecretError
from chat.models import ToolServer, ToolServerAuth
from chat.tools.exchange import ByteBudget, OutgoingRequest, send, target_of
from chat.tools.results import ToolErrorCode, ToolFault

#: Bytes of an answer with a token.
_MAX_TOKEN_BYTES = 65_536
_TOKEN_SECONDS = 20.0
#: Seconds of a token without `expires_in`; and how long before its end a token is asked for anew.
_DEFAULT_TOKEN_SECONDS, _EARLY_SECONDS = 300.0, 30.0
_MAX_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Client credentials, as RFC 6749 (4.4) has them."""

    token_url: str
    client_id: str
    secret: str
    scope: str
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a server is called. `headers` carry its secret unless `oauth` gets a token for it."""

    server: str
    url: str
    may_reach: Callable[[str], bool] | None
    timeout_seconds: float
    max_result_bytes: int
    headers: tuple[tuple[str, str], ...] = ()
    oauth: OAuthClient | None = None
    secrets: tuple[str, ...] = ()


def endpoint_of(server: ToolServer) -> Endpoint:
    """Return how a server is called, its secret decrypted. Raises ToolFault where the stored secret
    cannot be read."""
    try:
        secret = server.secret()
    except UnreadableSecretError:
        raise ToolFault(
            ToolErrorCode.AUTH,
            "The secret of the tool's server cannot be read with this SECRET_KEY: enter it anew.",
        ) from None
    headers: tuple[tuple[str, str], ...] = ()
    oauth = None
    match server.auth:
        case ToolServerAuth.BEARER:
            headers = (("authorization", f"Bearer {secret}"),)
        case ToolServerAuth.HEADER:
            headers = ((server.key_header, secret),)
        case ToolServerAuth.OAUTH:
            oauth = OAuthClient(
                server.oauth_token_url,
                server.oauth_client_id,
                secret,
                server.oauth_scope,
                server.oauth_resource,
            )
    return Endpoint(
        server=server.name,
        url=server.url,
        may_reach=server.may_reach,
        timeout_seconds=server.timeout_seconds,
        max_result_bytes=server.max_result_bytes,
        headers=headers,
        oauth=oauth,
        secrets=(secret,) if secret else (),
    )


# --- Credentials --------------------------------------------------------------------------------
async def credentials(endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    """The headers that authenticate the call. Raises ToolFault if no token can be fetched."""
    if endpoint.oauth is None:
        return endpoint.headers
    if not endpoint.oauth.token_url:
        raise _no_token("it is not known yet: have the server's tools listed")
    token = await _tokens().get(endpoint.oauth, endpoint.may_reach)
    return (("authorization", f"Bearer {token}"),)


def secrets_of(endpoint: Endpoint) -> tuple[str, ...]:
    """What its server is sent and may repeat, but nobody else may see: its secret, and its present
    token."""
    token = _tokens().present(endpoint.oauth) if endpoint.oauth is not None else ""
    return (*endpoint.secrets, token) if token else endpoint.secrets


def forget_token(endpoint: Endpoint) -> bool:
    """Drop the token that its server has refused. Returns whether there was one."""
    return endpoint.oauth is not None and _tokens().forget(endpoint.oauth)


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float | None = None


class _Tokens:
    """Tokens of this loop's clients, each asked for once at a time."""

    def __init__(self) -> None:
        self._tokens: dict[OAuthClient, tuple[str, float]] = {}
        self._asking: dict[OAuthClient, asyncio.Lock] = {}

    async def get(self, client: OAuthClient, may_reach: Callable[[str], bool] | None) -> str:
        """Return a token, a kept one while that is valid. Raises ToolFault."""
        lock = self._asking.setdefault(client, asyncio.Lock())
        async with lock:
            now = asyncio.get_running_loop().time()
            token, until = self._tokens.get(client, ("", 0.0))
            if now < until:
                return token
            fresh = await _ask_for_token(client, may_reach)
            seconds = fresh.expires_in if fresh.expires_in is not None else _DEFAULT_TOKEN_SECONDS
            seconds = seconds if math.isfinite(seconds) else _DEFAULT_TOKEN_SECONDS
            self._keep(client, fresh.access_token, now + max(seconds - _EARLY_SECONDS, 1.0))
            return fresh.access_token

    def present(self, client: OAuthClient) -> str:
        """The token of now; empty if there is none."""
        return self._tokens.get(client, ("", 0.0))[0]

    def forget(self, client: OAuthClient) -> bool:
        return self._tokens.pop(client, None) is not None

    def _keep(self, client: OAuthClient, token: str, until: float) -> None:
        self._tokens[client] = token, until
        if len(self._tokens) > _MAX_TOKENS:
            oldest = next(iter(self._tokens))
            self._tokens.pop(oldest, None)
            self._asking.pop(oldest, None)


@per_loop
def _tokens() -> _Tokens:
    return _Tokens()


async def _ask_for_token(client: OAuthClient, may_reach: Callable[[str], bool] | None) -> _Token:
    fields = {"grant_type": "client_credentials"}
    if client.scope:
        fields["scope"] = client.scope
    if client.resource:
        fields["resource"] = client.resource
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
    request = OutgoingRequest(
        method="POST",
        target=target_of(client.token_url, may_reach),
        headers=(
            ("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
        ),
        body=urlencode(fields).encode(),
        is_repeatable=True,
    )
    try:
        async with asyncio.timeout(_TOKEN_SECONDS):
            status, content = await _fetch(request)
    except TimeoutError:
        raise _no_token(f"no answer within {_TOKEN_SECONDS:g} s") from None
    except ToolFault as fault:
        raise _no_token(fault.message).without((client.secret,)) from None
    if status != 200:
        raise _no_token(f"it answers with HTTP {status}")
    try:
        token = msgspec.json.decode(content, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _no_token("its answer has no access_token") from None
    if not (token.access_token.isascii() and token.access_token.isprintable()):
        raise _no_token("its token holds characters that no header can carry")
    return token


async def _fetch(request: OutgoingRequest) -> tuple[int, bytes]:
    response = await send(request, ByteBudget(_MAX_TOKEN_BYTES))
    try:
        return response.status, await response.content()
    finally:
        response.close()


def _no_token(reason: str) -> ToolFault:
    return ToolFault(
        ToolErrorCode.AUTH, f"The authorization server of the tool gives no token: {reason}."
    )
