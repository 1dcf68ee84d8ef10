"""
The settings of a server that commands may ask for and change.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from simulation.redis.values import OK, ErrorReply, Status

DEFAULTS: Final = {
    b"appendfsync": b"everysec",
    b"appendonly": b"no",
    b"maxmemory": b"0",
    b"maxmemory-policy": b"noeviction",
    b"min-replicas-max-lag": b"10",
    b"min-replicas-to-write": b"0",
    b"requirepass": b"",
}


class Settings:
    """Names and values; numbers are texts, as in C{CONFIG}."""

    def __init__(self) -> None:
        self.values = dict(DEFAULTS)

    def number(self, name: bytes) -> int:
        """Return a setting that is a number."""
        return int(self.values[name])

    def get(self, patterns: list[bytes]) -> list[bytes]:
        """Return names and values that match one of the patterns."""
        wanted = [pattern.lower().decode() for pattern in patterns]
        found = []
        for name, value in self.values.items():
            if any(fnmatchcase(name.decode(), pattern) for pattern in wanted):
                found += [name, value]
        return found

    def set(self, pairs: list[bytes]) -> Status | ErrorReply:
        """Change settings, all or none."""
        names = [name.lower() for name in pairs[::2]]
        for name in names:
            if name not in self.values:
                return ErrorReply(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % name)
        self.values.update(zip(names, pairs[1::2]))
        return OK
