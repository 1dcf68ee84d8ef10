"""
Sentinels and servers in memory, whose answers a test chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.task import Clock

from eventsvc.redis.sentinels import Sentinels
from eventsvc.redis.switches import SentinelConnection
from eventsvc.settings.addresses import Address
from eventsvc.tap.parts.connection import connection_by_sentinels
from eventsvc.testing.clock import StrictClock
from tests.support.fake_redis import GOOD, FakeRedis, Link, bulk

#: Two servers that may be the primary.
A: Final = Address("10.0.0.1", 6379)
B: Final = Address("10.0.0.2", 6379)
REPLICA: Final = b"*5\r\n" + bulk(b"slave") + bulk(b"10.0.0.9") + b":6379\r\n" + bulk(b"connected") + b":0\r\n"


def array(*words: str) -> bytes:
    """Return an array of bulk strings in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join([bulk(word.encode()) for word in words])


def names(address: Address, epoch: int | None = 0) -> dict[str, bytes]:
    """Return what a Sentinel answers that names a primary; without an epoch its user may not ask for it."""
    facts = array("name", "mymaster", "config-epoch", f"{epoch}", "flags", "master")
    return {
        "SENTINEL GET-MASTER-ADDR-BY-NAME": array(address.host, f"{address.port}"),
        "SENTINEL MASTER": facts if epoch is not None else b"-NOPERM this user has no permissions\r\n",
    }


#: What a Sentinel answers to a subscription.
SUBSCRIBED: Final = b"".join(
    b"*3\r\n" + bulk(b"subscribe") + bulk(channel) + b":%d\r\n" % number
    for number, channel in enumerate([b"+failover-state-wait-promotion", b"+promoted-slave", b"+switch-master"], 1)
)
PONG: Final = array("pong", "")


@attrs.define(eq=False)
class FakeDeployment:
    """Three Sentinels, which name A, and two servers, of which A is the primary."""

    clock: Clock = attrs.field(factory=StrictClock)
    wire: list[Callable[[], None]] = attrs.field(factory=list)
    sentinels: Sequence[FakeRedis] = attrs.field(init=False)
    a: FakeRedis = attrs.field(init=False)
    b: FakeRedis = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.a = self._make(A, dict(GOOD))
        self.b = self._make(B, GOOD | {"ROLE": REPLICA})
        answers = {"AUTH": b"+OK\r\n", "SUBSCRIBE": SUBSCRIBED, "PING": PONG}
        self.sentinels = [self._make(Address(f"10.0.1.{n}", 26379), answers | names(A, 1)) for n in (1, 2, 3)]

    def _make(self, address: Address, answers: dict[str, bytes]) -> FakeRedis:
        return FakeRedis((address.host, address.port), clock=self.clock, wire=self.wire, answers=answers)

    @property
    def hosts(self) -> Sequence[FakeRedis]:
        return [*self.sentinels, self.a, self.b]

    def find(self, address: Address) -> FakeRedis:
        """Return the host at an address."""
        (found,) = [host for host in self.hosts if host.address == (address.host, address.port)]
        return found

    def make_sentinels(self, **more: Any) -> Sentinels:
        return Sentinels({Address(*each.address): each for each in self.sentinels}, self.clock, "mymaster", **more)

    def make_connection(self, follow: bool = True, **more: Any) -> SentinelConnection:
        """Return a connection that is not started."""
        common = {"clock": self.clock, "jitter": lambda: 0.0}
        return connection_by_sentinels(self.make_sentinels(**more), self.find, follow, common)

    def start(self, follow: bool = True, **more: Any) -> SentinelConnection:
        """Return a connection that is started, and has done what it does at once."""
        connection = self.make_connection(follow, **more)
        connection.startService()
        self.run()
        return connection

    def run(self, seconds: float = 0.0) -> None:
        """Deliver what was sent, and advance the clock."""
        self.a.run(seconds)

    def promote(self, knowing: Sequence[int] = (0, 1, 2)) -> None:
        """Make B the primary and A silent; some of the Sentinels know."""
        self.a.answers = {}
        self.b.answers = dict(GOOD)
        for number in knowing:
            self.sentinels[number].answers |= names(B, 2)

    def subscription(self, number: int) -> Link:
        """Return the open subscription at a Sentinel."""
        (link,) = [link for link in self.sentinels[number].links if link.open and "SUBSCRIBE" in link.names()]
        return link

    def announce(self, number: int, channel: str, text: str) -> None:
        """Let a Sentinel announce something."""
        self.subscription(number).say(array("message", channel, text))

    def open_links(self) -> list[Link]:
        return [link for host in self.hosts for link in host.links if link.open]

    def stop(self, connection: SentinelConnection) -> None:
        """Stop it, and check that no timer or connection is left, and that none follows."""
        stopped: list[object] = []
        connection.stopService().addBoth(stopped.append)
        self.run()
        assert stopped
        assert self.clock.getDelayedCalls() == []
        assert self.open_links() == []
        attempts = sum(len(host.attempts) for host in self.hosts)
        self.run(60.0)
        assert sum(len(host.attempts) for host in self.hosts) == attempts


PROMOTED: Final = f"slave {B} {B.host} {B.port} @ mymaster {A.host} {A.port}"
SWITCHED: Final = f"mymaster {A.host} {A.port} {B.host} {B.port}"
