"""The client's address, and headers that a client may forge."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from aily.network.client_address import network_of, request_address, scope_address


@pytest.mark.parametrize(
    ("is_behind_proxy", "peer", "forwarded", "address"),
    [
        (False, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (True, "192.0.2.1", "198.51.100.7", "198.51.100.7"),
        # Entries before the proxy's own may be forged.
        (True, "192.0.2.1", "127.0.0.1, 10.0.0.1,198.51.100.7", "198.51.100.7"),
        (True, "192.0.2.1", "198.51.100.7:4711", "198.51.100.7"),
        (True, "192.0.2.1", "[2001:db8::7]:4711", "2001:db8::7"),
        (True, "192.0.2.1", "", "192.0.2.1"),
        (True, "192.0.2.1", "unknown", "192.0.2.1"),
        (False, "::ffff:192.0.2.1", "", "192.0.2.1"),
        (False, "fe80::1%eth0", "", "fe80::1"),
        (False, "", "198.51.100.7", ""),
    ],
)
def test_the_address_is_the_peers_or_what_the_trusted_proxy_says(
    settings: Settings, is_behind_proxy: bool, peer: str, forwarded: str, address: str
) -> None:
    settings.BEHIND_PROXY = is_behind_proxy
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})
    scope = {"client": (peer, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert request_address(request) == scope_address(scope) == address


def test_a_customer_of_ipv6_is_one_network() -> None:
    assert network_of("2001:db8:1:2::7") == network_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::7") != network_of("2001:db8:1:2::7")
    assert network_of("192.0.2.1") == "192.0.2.1"
