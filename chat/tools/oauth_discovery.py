"""Where a server's clients get their tokens, as it says itself: the metadata of protected resources
(RFC 9728), which its 401 names, and those of its authorization server (RFC 8414, OpenID)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ValidationError

from chat.models.tool_fields import check_server_url
from chat.tools.exchange import ByteBudget, OutgoingRequest, StreamedResponse, send, target_of
from chat.tools.results import ToolErrorCode, ToolFault

T = TypeVar("T")
#: Of all answers together, and of all that is asked.
_MAX_BYTES = 262_144
_SECONDS = 20.0
_MAX_SCOPE_CHARS = 500
_RESOURCE_METADATA = re.compile(r'resource_metadata="([^"\\]{1,2000})"', re.IGNORECASE)
_SCOPE = re.compile(r'scope="([^"\\]{1,500})"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where tokens are asked for, for which scope and which resource; empty: none is named."""

    token_url: str
    scope: str
    resource: str


class _Resource(msgspec.Struct):
    resource: str = ""
    authorization_servers: list[str] = []
    scopes_supported: list[str] = []


class _AuthorizationServer(msgspec.Struct):
    issuer: str
    token_endpoint: str


async def discover(url: str, may_reach: Callable[[str], bool] | None) -> TokenSource:
    """Ask the MCP server at `url` where its tokens come from. Raises ToolFault.

    Nothing secret is sent. Who runs the server decides what it says: staff see what was found, and
    later changes of it are not followed.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await _Discovery(may_reach, ByteBudget(_MAX_BYTES)).run(url)
    except TimeoutError:
        raise _fault(f"it took more than {_SECONDS:g} s") from None


@dataclass(frozen=True, slots=True)
class _Discovery:
    may_reach: Callable[[str], bool] | None
    budget: ByteBudget

    async def run(self, url: str) -> TokenSource:
        challenge = await self._challenge(url)
        named = _RESOURCE_METADATA.search(challenge)
        places = [named[1]] if named else list(_resource_places(url))
        resource = await self._first(places, _Resource)
        if resource is not None and not _is_of(resource, url):
            raise _fault(f"its metadata are of another resource: {resource.resource[:200]}")
        issuer = _issuer(resource, url)
        server = await self._first(list(_issuer_places(issuer)), _AuthorizationServer)
        if server is None:
            raise _fault(f"{issuer[:200]} publishes no metadata with a token_endpoint")
        if resource is not None and server.issuer.rstrip("/") != issuer.rstrip("/"):
            raise _fault(f"the metadata at {issuer[:200]} name another issuer")
        _check_url(server.token_endpoint)
        scope = _SCOPE.search(challenge)
        supported = " ".join(resource.scopes_supported) if resource is not None else ""
        found = scope[1] if scope else supported
        named_resource = resource.resource if resource is not None else ""
        return TokenSource(server.token_endpoint, found[:_MAX_SCOPE_CHARS], named_resource)

    async def _challenge(self, url: str) -> str:
        """What the server asks for where nobody has said who calls."""
        body = b'{"jsonrpc":"2.0","id":0,"method":"tools/list","params":{}}'
        headers = (
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        )
        response = await self._send("POST", url, headers, body)
        response.close()
        return response.headers.get("www-authenticate", "") if response.status == 401 else ""

    async def _first(self, places: list[str], kind: type[T]) -> T | None:
        """The first of these documents that is there."""
        for place in places:
            _check_url(place)
            response = await self._send("GET", place, (("accept", "application/json"),), b"")
            try:
                if response.status != 200:
                    continue
                return msgspec.json.decode(await response.content(), type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise _fault(f"{place[:200]} is not the metadata that it should be") from None
            finally:
                response.close()
        return None

    async def _send(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> StreamedResponse:
        target = target_of(url, self.may_reach)
        request = OutgoingRequest(method, target, headers, body, is_repeatable=True)
        try:
            return await send(request, self.budget)
        except ToolFault as fault:
            raise _fault(fault.message) from None


def _resource_places(url: str) -> Iterator[str]:
    """Where the metadata are if the server does not say so: for its path, then for its host."""
    origin, path = _split(url)
    if path:
        yield f"{origin}/.well-known/oauth-protected-resource{path}"
    yield f"{origin}/.well-known/oauth-protected-resource"


def _issuer_places(issuer: str) -> Iterator[str]:
    origin, path = _split(issuer)
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    yield f"{origin}/.well-known/openid-configuration{path}"
    if path:
        yield f"{origin}{path}/.well-known/openid-configuration"


def _split(url: str) -> tuple[str, str]:
    """Origin and path of a URL, without the last slash. Raises ToolFault."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unusable(url) from None
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _is_of(resource: _Resource, url: str) -> bool:
    """Whether these metadata are of the server at `url`, or of what it is a part of."""
    origin, path = _split(resource.resource)
    own_origin, own_path = _split(url)
    return origin == own_origin and (f"{own_path}/").startswith(f"{path}/")


def _issuer(resource: _Resource | None, url: str) -> str:
    """The authorization server; that of the earliest revisions is the server's own host."""
    if resource is None:
        return _split(url)[0]
    if not resource.authorization_servers:
        raise _fault("its metadata name no authorization server")
    return resource.authorization_servers[0]


def _check_url(url: str) -> None:
    try:
        check_server_url(url)
    except ValidationError:
        raise _unusable(url) from None


def _unusable(url: str) -> ToolFault:
    return _fault(f"it names a URL that cannot be used: {url[:200]}")


def _fault(reason: str) -> ToolFault:
    return ToolFault(ToolErrorCode.AUTH, f"The server does not say where its tokens are: {reason}.")
