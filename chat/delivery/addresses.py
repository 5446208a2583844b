"""Addresses that webhooks may be sent to: never inside the network that aily itself runs in.

A name is resolved here, each of its addresses checked, and the connection made to a checked address
(chat/delivery/http.py), whatever a second look-up would return.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpx
from django.conf import settings

from aily.network.public_addresses import is_public
from chat.reasons import Reason, ReasonError

MAX_URL_CHARS = 2000
RESOLVE_SECONDS = 5
#: A look-up blocks a thread. These are apart from other threads, as name servers may not answer.
RESOLVER_THREADS = 16


class UnsafeURLError(ReasonError):
    """A URL that no webhook is sent to; the reason says why, to the endpoint's owner."""


def parse_url(url: str) -> httpx.URL:
    """Check all of a URL but its addresses. Raises UnsafeURLError."""
    if len(url) > MAX_URL_CHARS:
        raise UnsafeURLError(Reason.of("url_too_long", limit=MAX_URL_CHARS))
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UnsafeURLError(Reason.of("no_url", detail=error)) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UnsafeURLError(Reason("url_without_host"))
    if parsed.scheme == "http" and settings.WEBHOOK_REQUIRE_HTTPS:
        raise UnsafeURLError(Reason("url_not_https"))
    if parsed.userinfo:
        raise UnsafeURLError(Reason("url_with_user"))
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise UnsafeURLError(Reason("url_port"))
    return parsed


async def resolve(host: str, port: int) -> list[str]:
    """Resolve and check the addresses of `host`. Raises UnsafeURLError, or OSError."""
    loop = asyncio.get_running_loop()
    look_up = loop.run_in_executor(
        _resolvers(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await look_up
    except UnicodeError as error:
        raise UnsafeURLError(Reason.of("no_host_name", host=host)) from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not settings.WEBHOOK_ALLOW_PRIVATE and not all(map(is_public, addresses)):
        # The caller must not learn which address it was.
        raise UnsafeURLError(Reason.of("private_address", host=host))
    return addresses


async def check_url(url: str) -> None:
    """Check a URL and its present addresses. Raises UnsafeURLError."""
    parsed = parse_url(url)
    try:
        await resolve(parsed.host, port_of(parsed))
    except OSError as error:
        raise UnsafeURLError(Reason.of("unresolved_name", host=parsed.host)) from error


def port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


@cache
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
