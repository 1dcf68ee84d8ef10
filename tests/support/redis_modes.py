"""
Ways to set up a server of Redis so that it refuses commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from simulation.redis.values import PLAIN, Conditions, User


@attrs.frozen
class Mode:
    """
    How a server is set up, and what the model is told of it.

    @ivar enter: commands that set it up, as C{leave}.
    @ivar user: the user who sends commands.
    """

    conditions: Conditions
    enter: Sequence[str] = ()
    leave: Sequence[str] = ()
    user: str = "default"


AS_IT_IS: Final = Mode(PLAIN)


def make_modes(random: Random) -> Sequence[Mode]:
    """Return ways to set up a server; with rights that are taken at random."""
    names = [
        "xadd",
        "xack",
        "set",
        "get",
        "hset",
        "pexpire",
        "xautoclaim",
        "xrange",
        "xpending",
        "xlen",
        "xclaim",
        "xtrim",
    ]
    denied = random.sample([*names, "expire", "xdel", "eval", "xinfo", "xgroup", "hmget"], random.randrange(1, 4))
    pattern = random.choice(["*", "*", "{s}*", "{s}:*"])
    rule = f"ACL SETUSER u reset on nopass ~{pattern} +@all " + " ".join(f"-{name}" for name in denied)
    keys = None if pattern == "*" else (pattern[:-1].encode(),)
    user = User(b"u", denied=frozenset(name.encode() for name in denied), keys=keys)
    return [
        AS_IT_IS,
        Mode(Conditions(user=user), [rule], user="u"),
        Mode(Conditions(maxmemory=1), ["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
        Mode(
            Conditions(has_replicas=False),
            ["CONFIG SET min-replicas-to-write 1"],
            ["CONFIG SET min-replicas-to-write 0"],
        ),
        Mode(Conditions(is_replica=True), ["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    ]
