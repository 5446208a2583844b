"""The client's address: the peer's, or the one that the trusted proxy reports (BEHIND_PROXY)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest

#: An ASGI connection scope.
Scope = Mapping[str, Any]

#: One customer has at least a network of this size, and may use any address of it.
IPV6_PREFIX = 64


def request_address(request: HttpRequest) -> str:
    """The client's IP address; empty if there is none, as on a Unix socket."""
    meta: Mapping[str, str] = request.META
    return _client_address(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


def scope_address(scope: Scope) -> str:
    """The client's IP address of a WebSocket handshake, as `request_address`."""
    client = scope.get("client") or ("",)
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return _client_address(str(client[0]), b",".join(forwarded).decode("latin1"))


def network_of(address: str) -> str:
    """The network that counts as one client: an IPv4 address, or an IPv6 network of /64."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def _client_address(peer: str, forwarded: str) -> str:
    if settings.BEHIND_PROXY:
        # The proxy adds the last entry; the client may have written those before it.
        reported = _normalized(forwarded.rpartition(",")[2])
        if reported:
            return reported
    return _normalized(peer)


def _normalized(text: str) -> str:
    """The address in its canonical form, without the port that some proxies add. Empty: it is
    none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
