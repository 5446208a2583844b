"""Which IP addresses are of the public internet, by IANA's registries of special-purpose addresses.

Python's `ipaddress` has a part of them, which changes with each release. Here are all of them:
https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry, as of 2025-10. Webhooks and
providers check addresses here, as users and name servers supply them.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: Not of the public internet. Of a block with exceptions, all: 192.0.0.9 is "globally reachable",
#: and always one's own gateway.
_IPV4_SPECIAL = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private use
    "100.64.0.0/10",  # shared: carriers' NAT, and metadata services of some clouds
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's wire server, though the address is a public one
    "169.254.0.0/16",  # link-local, and most clouds' metadata services
    "172.16.0.0/12",  # private use
    "192.0.0.0/24",  # protocol assignments: DS-Lite, PCP and TURN of one's own network
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # relays of 6to4, withdrawn
    "192.168.0.0/16",  # private use
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and the broadcast address
)
#: All unicast addresses that IANA has given to the registries. What is outside of it is loopback,
#: local, multicast or not assigned at all (5f00::/16, 100::/64, fc00::/7, fe80::/10, ff00::/8).
_IPV6_UNICAST = "2000::/3"
_IPV6_SPECIAL = (
    "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, port control
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4, whose relays are withdrawn
    "3fff::/20",  # documentation
)
#: Of one machine's own link, and what clouds answer their machines at with credentials.
_LINK_LOCAL = (
    "169.254.0.0/16",
    "fe80::/10",
    "168.63.129.16/32",  # Azure
    "100.100.100.200/32",  # Alibaba Cloud
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::/32",  # AWS
    "fd20:ce::254/128",  # Google Cloud
    "fd00:42::42/128",  # Scaleway
)
_NAT64 = IPv6Network("64:ff9b::/96")
#: NAT64 within one network, and ISATAP's forerunner: the last 32 bits are an IPv4 address.
_IPV4_AT_THE_END = (_NAT64, IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))
_SIXTOFOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")

_Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address


def _networks(*names: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)


_UNICAST = IPv6Network(_IPV6_UNICAST)
_SPECIAL = _networks(*_IPV4_SPECIAL, *_IPV6_SPECIAL)
_LINKS = _networks(*_LINK_LOCAL)


@lru_cache(maxsize=1024)
def is_public(address: str) -> bool:
    """Whether an IP address, with or without a zone, is of the public internet.

    An IPv6 address translated from an IPv4 address is public if that is.
    """
    parsed = _parsed(address)
    inner = _inner(parsed)
    if isinstance(parsed, IPv6Address):
        if inner is not None:
            is_translated = parsed.ipv4_mapped is not None or parsed in _NAT64
            return is_translated and is_public(str(inner))
        if parsed not in _UNICAST:
            return False
    return not any(parsed in network for network in _SPECIAL)


@lru_cache(maxsize=1024)
def is_link_local(address: str) -> bool:
    """Whether an IP address is link-local, or of a cloud's metadata service."""
    parsed = _parsed(address)
    inner = _inner(parsed)
    return any(parsed in network for network in _LINKS) or (
        inner is not None and is_link_local(str(inner))
    )


def is_not_link_local(address: str) -> bool:
    """Whether a provider that a superuser has added may have this address."""
    return not is_link_local(address)


def _parsed(address: str) -> _Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _inner(address: _Address) -> IPv4Address | None:
    """The IPv4 address that packets to an IPv6 address are forwarded to, if any."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _IPV4_AT_THE_END):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIXTOFOUR:
        return address.sixtofour
    return address.teredo[1] if address in _TEREDO and address.teredo else None
