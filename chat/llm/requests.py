"""Builds requests to a provider: origin, head and body."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import httpx
import msgspec

from chat.llm.errors import AuthError, BadRequestError, ForbiddenAddressError, UnreachableError
from chat.llm.transport.connections import Origin
from chat.llm.transport.tunnels import authorization_lines
from chat.llm.types import ChatRequest, EmbeddingsRequest, Upstream

_PORTS = {"http": 80, "https": 443}
_COMPLETIONS = "/chat/completions"


class Target(NamedTuple):
    """Origin of a kind of request, and the part of its head that is the same for all."""

    origin: Origin
    head: bytes


@lru_cache(maxsize=1024)
def completions(upstream: Upstream, api_key: str | None) -> Target:
    """Target of chat completions. Raises UnreachableError, AuthError or ForbiddenAddressError."""
    lines = [
        b"accept: text/event-stream",
        # Compression would hold events back until a block is full.
        b"accept-encoding: identity",
        b"content-type: application/json",
    ]
    return _target(b"POST", upstream, _COMPLETIONS, api_key, lines)


@lru_cache(maxsize=256)
def embeddings(upstream: Upstream, api_key: str | None) -> Target:
    """Target of embeddings. Raises as `completions`."""
    lines = [
        b"accept: application/json",
        b"accept-encoding: identity",
        b"content-type: application/json",
    ]
    return _target(b"POST", upstream, "/embeddings", api_key, lines)


def models(upstream: Upstream, api_key: str | None) -> Target:
    """Target of the list of models. Raises as `completions`."""
    lines = [b"accept: application/json", b"accept-encoding: identity"]
    return _target(b"GET", upstream, "/models", api_key, lines)


def encode_request(
    target: Target, upstream: Upstream, request: ChatRequest | EmbeddingsRequest
) -> bytes:
    """Encode the whole request. Raises BadRequestError."""
    try:
        body = msgspec.json.encode(request.body(upstream.provider, upstream.request_fields))
    except (TypeError, ValueError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from error
    trace = f"\r\ntraceparent: {request.traceparent}" if request.traceparent else ""
    end = f"{trace}\r\ncontent-length: {len(body)}\r\n\r\n"
    return target.head + end.encode() + body


def _target(
    method: bytes, upstream: Upstream, path: str, api_key: str | None, lines: list[bytes]
) -> Target:
    if upstream.problem:
        raise AuthError(upstream.problem)
    url = _url(upstream.base_url, path)
    origin = Origin(
        url.raw_host.decode("ascii"),
        url.port or _PORTS[url.scheme],
        url.scheme == "https",
        upstream.ca_bundle,
        upstream.proxy,
        upstream.may_reach,
    )
    asked, to_proxy = url.raw_path, []
    if upstream.proxy is not None:
        _check_ip_address(origin)
        if not origin.is_tls:
            # Without TLS the proxy reads the request: it needs the absolute URL.
            asked = bytes(url.raw_scheme) + b"://" + url.netloc + url.raw_path
            to_proxy = authorization_lines(upstream.proxy)
    head = [
        method + b" " + asked + b" HTTP/1.1",
        b"host: " + url.netloc,
        b"user-agent: aily",
        *lines,
        *_key_lines(upstream, api_key),
        *(f"{name}: {value}".encode() for name, value in upstream.headers),
        *to_proxy,
    ]
    return Target(origin, b"\r\n".join(head))


def _url(base_url: str, path: str) -> httpx.URL:
    """Append the path before the query, as Azure's `?api-version=...` needs.

    Vendors' documents often have the whole address of completions, which is taken as well.
    """
    base, mark, query = base_url.partition("?")
    base = base.rstrip("/").removesuffix(_COMPLETIONS)
    try:
        url = httpx.URL(base + path + mark + query)
    except httpx.InvalidURL as error:
        raise UnreachableError(f"no connection: {error}") from error
    if url.scheme not in _PORTS or not url.host:
        raise UnreachableError("no connection: the URL is neither http: nor https:")
    return url


def _check_ip_address(origin: Origin) -> None:
    """Check a host that is an IP address. Names are resolved by the proxy."""
    if origin.may_reach is None:
        return
    try:
        is_reachable = origin.may_reach(origin.host)
    except ValueError:  # a name
        return
    if not is_reachable:
        raise ForbiddenAddressError(origin.host)


def _key_lines(upstream: Upstream, api_key: str | None) -> list[bytes]:
    if not api_key:
        return []
    if not (api_key.isascii() and api_key.isprintable()):
        raise AuthError("the API key holds characters that no header can carry")
    if upstream.key_header:
        return [f"{upstream.key_header}: {api_key}".encode()]
    return [b"authorization: Bearer " + api_key.encode()]
