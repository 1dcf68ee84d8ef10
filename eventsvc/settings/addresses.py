"""
Addresses of servers: host and port.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final

import attrs

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@attrs.frozen
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """
    Parse C{host:port}; an IPv6 address is in brackets.

    @raise ValueError: it is malformed.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        raise ValueError
    host = str(IPv6Address(found["v6"])) if found["v6"] else found["host"]
    return Address(host, int(found["port"]))


def parse_addresses(text: str) -> tuple[Address, ...]:
    """
    Parse the setting: addresses separated by commas, each one once.

    @raise ValueError: one is malformed.
    """
    return tuple(dict.fromkeys([parse_address(word) for word in _split(text)]))


def show_wrong_addresses(value: object) -> str:
    """Return the text of the setting, and which of its items are malformed."""
    if not isinstance(value, str):
        return repr(value)
    wrong = ", ".join([repr(word) for word in _wrong(value)])
    return f"{value!r} (wrong: {wrong})"


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")] if text.strip() else []


def _wrong(text: str) -> Iterator[str]:
    for word in _split(text):
        try:
            parse_address(word)
        except ValueError:
            yield word
