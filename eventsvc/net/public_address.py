"""
Which addresses are public: a server that connects to any other may be made to
reach what only it can reach.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

#: The global unicast addresses of IPv6; what is outside is local, multicast, reserved or a translation.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
#: IPv4 behind NAT64: the last four bytes are the address that is reached.
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: Not public, whatever the version of C{ipaddress} says: tunnels, relays, protocol assignments, documentation.
_SPECIAL_V4: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_SPECIAL_V6: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20"))


def is_public(text: str) -> bool:
    """
    Return whether an address is one of the public internet.

    An IPv6 address that leads to an IPv4 address is judged as that one.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    inner = _embedded(address)
    if inner is not None:
        return _is_public_v4(inner)
    return address in _GLOBAL_UNICAST and address.is_global and not any(address in each for each in _SPECIAL_V6)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in each for each in _SPECIAL_V4)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a system or its network turns this one into."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped
