"""
The kinds of faults, as a table, and the steps at which one may begin.

Processes are named C{producer-1}, C{consumer-1}, C{redis-1}, C{sentinel-1},
C{client-1}; C{primary} is whichever server is the primary when the fault begins.  A
link is named by its two ends, the one that connects first: C{producer-1:primary}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

#: What a fault is about.
Role = Literal[
    "producer",
    "consumer",
    "redis",
    "replica",
    "sentinel",
    "link",
    "producer link",
    "consumer link",
    "client",
    "handler",
    "",
]


@attrs.frozen
class Kind:
    """
    A kind of fault.

    @ivar roles: of its targets.
    @ivar words: what happens, for stories: C{{target}}, C{{seconds}}, C{{amount}} and C{{what}} are filled in.
    @ivar seconds: the shortest and the longest time it lasts; C{None} if it is over at once.
    @ivar amount: the least and the largest strength; C{None} if it has none.
    @ivar whats: the further words to choose from.
    @ivar loses: whether Redis may lose or take back what it has confirmed.
    @ivar needs: C{replicas} if there must be a replica, C{disk} if servers must keep their data,
        C{consumers} if there must be another consumer.
    @ivar weight: how often it is chosen, against the others.
    """

    roles: tuple[Role, ...]
    words: str
    seconds: tuple[float, float] | None = None
    amount: tuple[float, float] | None = None
    whats: tuple[str, ...] = ()
    loses: bool = False
    needs: str = ""
    weight: float = 1.0


PRIMARY: Final = "primary"

#: Commands whose right is taken away.
_RIGHTS: Final = (
    "xadd",
    "set",
    "hset",
    "eval",
    "evalsha",
    "xreadgroup",
    "xack",
    "xclaim",
    "xautoclaim",
    "xpending",
    "get",
)

KINDS: Final[Mapping[str, Kind]] = {
    "cut": Kind(("link",), "the connection {target} is cut", weight=3),
    "half": Kind(("link",), "half of the next reply on {target} arrives, then the connection is cut", weight=2),
    "swallow": Kind(("link",), "the next reply on {target} is lost with its connection", weight=3),
    "delay": Kind(("link",), "{target} takes {amount:.2f} s longer each way", (0.5, 8.0), (0.02, 1.5), weight=2),
    "trickle": Kind(("link",), "{target} delivers a few bytes at a time", (0.5, 5.0)),
    "silence": Kind(("link",), "nothing arrives on {target}", (0.2, 12.0), weight=2),
    "refuse": Kind(("link",), "{target} refuses connections, and cuts those it has", (0.2, 8.0)),
    "kill": Kind(("producer", "consumer", "redis"), "{target} is killed, and restarted", (0.1, 6.0), weight=3),
    "stop": Kind(("producer", "consumer"), "{target} gets SIGTERM, and is started again", (0.1, 4.0), weight=2),
    "leave": Kind(("consumer",), "{target} is killed for good", needs="consumers"),
    "pause": Kind(("producer", "consumer", "redis"), "{target} is suspended", (0.3, 30.0), weight=2),
    "power": Kind(("redis",), "the power of {target} fails", (0.2, 6.0), loses=True, needs="disk", weight=2),
    "load": Kind(
        ("redis",),
        "{target} is killed, and restarted; then it loads its data for {amount:.1f} s",
        (0.1, 2.0),
        (0.5, 6.0),
        needs="disk",
    ),
    "full-disk": Kind(("redis",), "the disk of {target} is full", (0.5, 8.0), loses=True, needs="disk"),
    "lag": Kind(
        ("replica",), "{target} applies nothing of what its primary does", (0.5, 8.0), needs="replicas", weight=2
    ),
    "promote": Kind(
        ("",), "the primary is unreachable, and Sentinels promote a replica", loses=True, needs="replicas", weight=3
    ),
    "both": Kind(
        ("producer",),
        "{target} is killed when the power of the primary fails, and Sentinels promote a replica",
        (0.1, 4.0),
        loses=True,
        needs="replicas",
        weight=2,
    ),
    "switch": Kind(("",), "Sentinels promote a replica as planned", loses=True, needs="replicas"),
    "isolate": Kind(
        ("redis",), "{target} hears neither servers nor Sentinels", (1.0, 12.0), loses=True, needs="replicas"
    ),
    "deaf": Kind(("sentinel",), "{target} hears nothing", (1.0, 15.0), needs="replicas"),
    "kill-sentinel": Kind(("sentinel",), "{target} is killed, and restarted", (0.5, 15.0), needs="replicas"),
    "need-replicas": Kind(("redis",), "{target} refuses writes, because it wants more replicas", (0.5, 8.0)),
    "fill": Kind(("redis",), "the memory of {target} is full", (0.5, 8.0)),
    "revoke": Kind(("redis",), "{target} takes away the right to {what}", (0.5, 8.0), whats=_RIGHTS),
    "flush-scripts": Kind(("redis",), "{target} forgets all scripts"),
    "step": Kind(
        ("producer", "consumer", "redis"), "the wall clock of {target} jumps by {amount:+.1f} s", None, (-90.0, 90.0)
    ),
    "drift": Kind(
        ("producer", "consumer", "redis"),
        "the wall clock of {target} goes {amount:.3f} times as fast",
        (2.0, 20.0),
        (0.9, 1.1),
    ),
    "slow": Kind(("handler",), "the handler of {target} takes about {amount:.1f} s", (1.0, 15.0), (0.2, 9.0), weight=2),
    "fail": Kind(("handler",), "the handler of {target} fails", (0.5, 8.0), weight=2),
    "stumble": Kind(("handler",), "the handler of {target} fails once"),
    "again": Kind(("handler",), "the handler of {target} asks for its events again", (0.5, 5.0)),
    "hang": Kind(("handler",), "the handler of {target} does not end", (1.0, 20.0)),
    "impatient": Kind(("client",), "{target} gives up after {amount:.2f} s, and posts again", (1.0, 8.0), (0.01, 0.5)),
}

#: Steps of a role at which a fault of it may begin: what happens on the wire or in the process.
STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "producer": (
        "request:append",
        "reply:append",
        "request:renew",
        "reply:renew",
        "reply:open",
        "reply:WAIT",
        "connected",
    ),
    "consumer": (
        "request:XREADGROUP",
        "reply:XREADGROUP",
        "request:XACK",
        "reply:XACK",
        "reply:pending",
        "reply:claim",
        "reply:update_pending",
        "request:set_aside",
        "reply:set_aside",
        "reply:trim",
        "reply:create_group",
        "handler:begin",
        "handler:end",
        "connected",
    ),
    "redis": (
        "applied:append",
        "applied:XREADGROUP",
        "applied:XACK",
        "applied:claim",
        "applied:update_pending",
        "applied:set_aside",
    ),
}


def role_of(target: str) -> str:
    """Return what a target is: the role of a process, or of the end of a link that connects."""
    name = target.partition(":")[0].partition("-")[0]
    return "redis" if name == PRIMARY else name
