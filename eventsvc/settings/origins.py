"""
The form of a web origin: scheme, host and port.
"""

from __future__ import annotations

import re
from typing import Final

_ORIGIN: Final = re.compile(rb"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::([0-9]{0,5}))?")
_PORTS: Final = {b"http": 80, b"https": 443}

#: The value of the setting that allows all origins.
ANY: Final = frozenset((b"*",))


def normalize_origin(text: bytes) -> bytes | None:
    """
    Return an origin in lower case and without the default port of its scheme.

    @param text: scheme://host[:port] (RFC 6454, 6.1).
    @return: C{None} if it is malformed, or C{null}.
    """
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host = found[1], found[2]
    default = _PORTS.get(scheme)
    port = int(found[3]) if found[3] else default
    if port is not None and not 1 <= port <= 65_535:
        return None
    return b"%b://%b" % (scheme, host) + (b"" if port is None or port == default else b":%d" % port)


def parse_origins(text: str) -> frozenset[bytes]:
    """
    Parse the setting: origins separated by commas, or C{*}.

    @raise ValueError: one is malformed.
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if words == ["*"]:
        return ANY
    origins = [normalize_origin(word.encode()) for word in words]
    if None in origins:
        raise ValueError
    return frozenset([origin for origin in origins if origin is not None])
