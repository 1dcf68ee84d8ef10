"""
The settings of a server that commands may ask for and change.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from simulation.redis.values import OK, ErrorReply, Status, Version

DEFAULTS: Final = {
    b"appendfsync": b"everysec",
    b"appendonly": b"no",
    b"maxmemory": b"0",
    b"maxmemory-policy": b"noeviction",
    b"min-replicas-max-lag": b"10",
    b"min-replicas-to-write": b"0",
    b"requirepass": b"",
}


#: By whether the server is an old one.
_UNKNOWN: Final = {
    False: b"ERR Unknown option or number of arguments for CONFIG SET - '%b'",
    True: b"ERR Unsupported CONFIG parameter: %b",
}
_INVALID: Final = b"ERR Invalid argument '%b' for CONFIG SET '%b' - argument must be a memory value"
_FAILED: Final = b"ERR CONFIG SET failed (possibly related to argument '%b') - argument must be a memory value"


class Settings:
    """Names and values; numbers are texts, as in C{CONFIG}."""

    def __init__(self) -> None:
        self.values = dict(DEFAULTS)

    def number(self, name: bytes) -> int:
        """Return a setting that is a number."""
        return int(self.values[name])

    def get(self, patterns: Sequence[bytes], version: Version) -> list[bytes]:
        """Return names and values that match one of the patterns; since 7.0 a whole name comes as it was asked for."""
        found: dict[bytes, bytes] = {}
        for pattern in patterns:
            if not version.is_old and pattern.lower() in self.values:
                found[pattern] = self.values[pattern.lower()]
                continue
            form = pattern.lower().decode()
            found |= {name: value for name, value in self.values.items() if fnmatchcase(name.decode(), form)}
        return [word for pair in found.items() for word in pair]

    def set(self, pairs: Sequence[bytes], version: Version) -> Status | ErrorReply:
        """Change settings, all or none."""
        changes = dict(zip([name.lower() for name in pairs[::2]], pairs[1::2]))
        for name, value in changes.items():
            if name not in self.values:
                return ErrorReply(_UNKNOWN[version.is_old] % name)
            if DEFAULTS[name].isdigit() and not value.isdigit():
                return ErrorReply(_INVALID % (value, name) if version.is_old else _FAILED % name)
        self.values.update(changes)
        return OK
