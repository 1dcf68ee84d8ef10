"""
Asks what the user of Redis may do: which roles it can serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred

from eventsvc.redis.connection import Connection
from eventsvc.redis.scripts import load_script
from eventsvc.redis.session import Argument

_MAY: Final = load_script("may.lua")

#: By role, what its user runs: the commands whose rights are apart in the users of C{docs/security.md}.
COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "producer": (
        "XADD {key} * f v",
        "XINFO GROUPS {key}",
        "XLEN {key}",
        "XPENDING {key} g",
        "XRANGE {key} - +",
        "GET {companion}:lane:x",
        "SET {companion}:lane:x v EX 1",
        "EXPIRE {companion}:lane:x 1",
        "HLEN {companion}:keys:0",
        "HMGET {companion}:keys:0 f",
        "HSET {companion}:keys:0 f v",
        "PEXPIRE {companion}:keys:0 1",
        "PTTL {companion}:keys:0",
    ),
    "consumer": (
        "XREADGROUP GROUP g c STREAMS {key} >",
        "XACK {key} g 1-1",
        "XAUTOCLAIM {key} g c 1 0-0",
        "XCLAIM {key} g c 1 1-1",
        "XGROUP CREATE {key} g 0 MKSTREAM",
        "XGROUP DELCONSUMER {key} g c",
        "XINFO GROUPS {key}",
        "XINFO CONSUMERS {key} g",
        "XLEN {key}",
        "XPENDING {key} g",
        "XRANGE {key} - +",
        "XTRIM {key} MINID ~ 1-1",
        "XADD {companion}:dead * f v",
        "XLEN {companion}:dead",
        "GET {companion}:owner:g:c",
        "SET {companion}:owner:g:c v PX 1",
        "PEXPIRE {companion}:owner:g:c 1",
        "PTTL {companion}:owner:g:c",
    ),
    "operator": (
        "XADD {key} * f v",
        "XADD {companion}:dead * f v",
        "XDEL {companion}:dead 1-1",
        "XLEN {companion}:dead",
        "XRANGE {companion}:dead - +",
        "XREVRANGE {companion}:dead + -",
    ),
    "dashboard": (
        "XINFO GROUPS {key}",
        "XINFO CONSUMERS {key} g",
        "XLEN {key}",
        "XPENDING {key} g",
        "XRANGE {key} - +",
        "XREVRANGE {key} + -",
        "XLEN {companion}:dead",
        "XREVRANGE {companion}:dead + -",
        "HGETALL {companion}:processes",
    ),
}


def find_missing(connection: Connection, stream: str) -> Deferred[Mapping[str, Sequence[str]] | None]:
    """
    Fire with the commands that the user may not run, by role; C{None} if the server cannot tell: Redis 6.2.

    Fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.
    """
    lines = [line for commands in COMMANDS.values() for line in commands]
    arguments: list[Argument] = []
    for line in lines:
        words = line.split()
        arguments += [len(words), *words]

    def sort(reply: Sequence[int] | None) -> Mapping[str, Sequence[str]] | None:
        if reply is None:
            return None
        allowed = {line for line, may in zip(lines, reply, strict=True) if may}
        return {role: [line for line in commands if line not in allowed] for role, commands in COMMANDS.items()}

    return connection.run(_MAY, [stream], arguments).addCallback(sort)
