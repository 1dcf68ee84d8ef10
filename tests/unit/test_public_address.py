"""
Tests for L{eventsvc.net.public_address}: what only this host or its network can
reach is not public, in whatever notation.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.net.public_address import is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.255.255", "2606:4700::1111", "2a00::1"]

PRIVATE_V4 = {
    "this host": ["0.0.0.0", "0.1.2.3"],
    "loopback": ["127.0.0.1", "127.255.255.255"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "carrier NAT": ["100.64.0.1", "100.127.255.255"],
    "link-local, metadata": ["169.254.0.1", "169.254.169.254"],
    "assignments, tests, documentation": ["192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"],
    "6to4 relay": ["192.88.99.1"],
    "multicast": ["224.0.0.1", "239.255.255.255"],
    "reserved, broadcast": ["240.0.0.1", "255.255.255.255"],
}

PRIVATE_V6 = {
    "unspecified, loopback": ["::", "::1"],
    "unique local, metadata": ["fc00::1", "fd00:ec2::254"],
    "link-local": ["fe80::1", "fe80::1%eth0", "febf::1"],
    "site-local": ["fec0::1"],
    "multicast": ["ff02::1", "ff0e::1"],
    "documentation, discard": ["2001:db8::1", "3fff::1", "100::1"],
    "tunnels": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:7f00:1::", "2002:808:808::1"],
    "NAT64 of their own": ["64:ff9b:1::808:808"],
    "IPv4-compatible, translated": ["::127.0.0.1", "::8.8.8.8", "::ffff:0:7f00:1"],
    "segment routing": ["5f00::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address", [each for group in (PRIVATE_V4, PRIVATE_V6) for row in group.values() for each in row]
)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_as_what_it_leads_to(address: IPv4Address) -> None:
    """Mapped, and translated by NAT64."""
    for prefix in (0xFFFF << 32, 0x64_FF9B << 96):
        assert is_public(str(IPv6Address(prefix + int(address)))) == is_public(str(address))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public(address: IPv6Address) -> None:
    if is_public(str(address)) and not address.ipv4_mapped:
        assert str(address).startswith(("2", "3", "64:ff9b::"))
