"""
How servers name what a script did wrong, and write its numbers.
"""

from __future__ import annotations

from typing import Final

from simulation.redis.values import Version

#: Commands that no script may run.
FORBIDDEN: Final = frozenset(b"eval evalsha script auth multi exec subscribe".split())
_OLD: Final = {
    "arguments": b"Lua redis() command arguments must be strings or integers",
    "none": b"Please specify at least one argument for redis.call()",
    "unknown": b"Unknown Redis command called from Lua script",
    "number": b"Wrong number of args calling Redis command From Lua script",
    "forbidden": b"This Redis command is not allowed from scripts",
    "check": b"",
}
WORDS: Final = {
    Version.REDIS_6_2: _OLD,
    Version.REDIS_7_0: {
        "arguments": b"ERR Lua redis lib command arguments must be strings or integers",
        "none": b"ERR Please specify at least one argument for this redis lib call",
        "unknown": b"ERR Unknown Redis command called from script",
        "number": b"ERR Wrong number of args calling Redis command from script",
        "forbidden": b"ERR This Redis command is not allowed from script",
        "check": b"redis.acl_check_cmd",
    },
    Version.VALKEY_9_1: {
        "arguments": b"ERR Command arguments must be strings or integers",
        "none": b"ERR Please specify at least one argument for this call",
        "unknown": b"ERR Unknown command called from script",
        "number": b"ERR Wrong number of args calling command from script",
        "forbidden": b"ERR This Valkey command is not allowed from script",
        "check": b"server.acl_check_cmd",
    },
}


def write_number(value: float, version: Version) -> bytes:
    """Return a number of Lua as an argument."""
    if version is Version.VALKEY_9_1:
        return b"%d" % value if float(value).is_integer() else repr(float(value)).encode()
    return b"%.17g" % value
