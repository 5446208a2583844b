"""Which addresses are of the public internet, by whatever notation they are written."""

from __future__ import annotations

import pytest

from aily.network.public_addresses import is_link_local, is_not_link_local, is_public


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.63.255.255",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",  # IPv4 in IPv6
        "64:ff9b::1.1.1.1",  # by the public prefix of NAT64
    ],
)
def test_public(address: str) -> None:
    assert is_public(address)
    assert not is_link_local(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "172.16.0.1", "192.168.1.1"),  # noqa: S104
        *("192.0.0.9", "192.88.99.1", "198.18.0.1", "203.0.113.7", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fc00::1", "fe80::1", "fe80::1%eth0", "ff02::1", "2001:db8::1", "5f00::1"),
        *("::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1.1.1.1", "::1.1.1.1"),
        *("2002:101:101::1", "2001:0:101:101::1", "3fff::1", "168.63.129.16"),
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::1%eth0"),
        # Where a translator would take a packet.
        *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1"),
    ],
)
def test_link_local_and_metadata(address: str) -> None:
    assert is_link_local(address)
    assert not is_not_link_local(address)
    assert not is_public(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "fd12::1"])
def test_an_operators_own_network_is_not_link_local(address: str) -> None:
    assert is_not_link_local(address)


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        is_public("localhost")
