"""
Servers that replicate, and the Sentinels that promote them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from simulation.servers.sentinel import Sentinel
from simulation.servers.server import Server


@attrs.frozen
class Pace:
    """
    How long the steps of a failover take, in seconds.

    Source: real Sentinels of three servers on one machine.

    @ivar notice: from the promotion until the Sentinel that leads has seen it.
    @ivar switch: from then until it names the new primary by C{+switch-master}.
    @ivar spread: from then until each of the others does, one by one.
    @ivar correct: until a server that has come back, or was left behind, is told whom to follow.
    @ivar sync: until a replica is connected to another primary.
    """

    notice: float = 0.5
    switch: float = 0.1
    spread: Sequence[float] = (0.05, 0.4)
    correct: float = 8.0
    sync: float = 0.05


@attrs.define(eq=False)
class Deployment:
    """
    Servers and Sentinels, with plain names for what happens to them.

    @ivar servers: the first one begins as the primary.
    @ivar sentinels: none, or some; the first that runs leads a failover.
    """

    clock: IReactorTime
    servers: Sequence[Server]
    sentinels: Sequence[Sentinel] = ()
    pace: Pace = attrs.field(factory=Pace)
    _epoch: int = 0

    def __attrs_post_init__(self) -> None:
        for server in self.servers[1:]:
            server.follow(self.servers[0])

    @property
    def nodes(self) -> Sequence[Server | Sentinel]:
        """Everything that listens."""
        return [*self.servers, *self.sentinels]

    @property
    def primary(self) -> Server:
        """The server that the latest failover has chosen; without Sentinels, one that runs as a primary."""
        if self.sentinels:
            return max(self.sentinels, key=lambda each: each.epoch).named
        return next((each for each in self.servers if each.link is None and each.up), self.servers[0])

    def best_replica(self) -> Server | None:
        """Return the replica of the primary that runs and has most of its writes; C{None} if there is none."""
        replicas = [each for each in self.servers if each.link is not None and each.runs and each is not self.primary]
        return max(replicas, key=lambda each: each.position().offset, default=None)

    def fail_over(self, chosen: Server | None = None) -> bool:
        """
        Make the Sentinels promote a replica; whether the primary is well makes no difference to the steps.

        @return: whether that begins: it needs most of the Sentinels, and a replica.
        """
        talking = self._talking()
        replica = chosen or self.best_replica()
        if len(talking) <= len(self.sentinels) // 2 or replica is None or replica.link is None or not replica.runs:
            return False
        _Failover(self, talking[0], self.primary, replica).begin()
        return True

    def next_epoch(self) -> int:
        """Return the number of the next failover."""
        self._epoch += 1
        return self._epoch

    def start(self, node: Server | Sentinel, loading: float = 0.0) -> None:
        """Start a process again; Sentinels tell a server later if it is to follow another one."""
        if isinstance(node, Server):
            node.start(loading)
        else:
            node.start()
        self._settle_later(node)

    def resume(self, node: Server | Sentinel) -> None:
        """Let a paused process go on; Sentinels tell a server later if it is to follow another one."""
        node.resume()
        self._settle_later(node)

    def isolate(self, sentinel: Sentinel) -> None:
        """Keep the news of the others from a Sentinel: its view gets outdated."""
        sentinel.is_isolated = True

    def rejoin(self, sentinel: Sentinel) -> None:
        """Let a Sentinel hear the others again: it learns what they name."""
        sentinel.is_isolated = False
        self._settle_later(sentinel)

    def _settle_later(self, node: Server | Sentinel) -> None:
        if isinstance(node, Server):
            self.correct_later(node)
        else:
            self.tell_later(node, self.pace.spread[0])

    def tell_later(self, sentinel: Sentinel, seconds: float) -> None:
        """Make a Sentinel hear what the others name by then."""
        self.clock.callLater(seconds, self._tell, sentinel)

    def _tell(self, sentinel: Sentinel) -> None:
        if sentinel.runs and not sentinel.is_isolated:
            best = max(self._talking(), key=lambda each: each.epoch)
            sentinel.learn(best.named, best.epoch)

    def _talking(self) -> Sequence[Sentinel]:
        return [each for each in self.sentinels if each.runs and not each.is_isolated]

    def correct_later(self, server: Server) -> None:
        """Make a server follow the primary that the Sentinels name by then, if it does not."""
        if self.sentinels:
            self.clock.callLater(self.pace.correct, self._correct, server)

    def _correct(self, server: Server) -> None:
        primary = self.primary
        if server is primary:
            if server.link is not None and server.runs:
                server.promote()
        elif server.runs and primary.up and (server.link is None or server.link.primary is not primary):
            server.follow(primary, self.pace.sync)
        elif server.link is None and (talking := self._talking()):
            _Failover(self, talking[0], primary, server).begin()  # a failover whose leader has died goes on


@attrs.define(eq=False)
class _Failover:
    """One failover, step by step; each step needs the Sentinel that leads it."""

    deployment: Deployment
    leader: Sentinel
    old: Server
    new: Server
    epoch: int = 0

    def begin(self) -> None:
        self.leader.announce_replica(b"+failover-state-wait-promotion", self.new, self.old)
        self.new.promote()
        self._next(self.deployment.pace.notice, self._notice)

    def _next(self, seconds: float, step: Callable[[], None]) -> None:
        self.deployment.clock.callLater(seconds, self._go_on, step)

    def _go_on(self, step: Callable[[], None]) -> None:
        if self.leader.runs and self.new.up:
            step()
        else:
            self.deployment.correct_later(self.new)  # the others know nothing of it, and undo it

    def _notice(self) -> None:
        self.epoch = self.deployment.next_epoch()
        self.leader.named, self.leader.epoch = self.new, self.epoch
        self.leader.announce_replica(b"+promoted-slave", self.new, self.old)
        self._next(self.deployment.pace.switch, self._switch)

    def _switch(self) -> None:
        deployment = self.deployment
        self.leader.announce_switch(self.old)
        others = [each for each in deployment.sentinels if each is not self.leader]
        for sentinel, seconds in zip(others, deployment.pace.spread):
            deployment.tell_later(sentinel, seconds)
        for server in deployment.servers:
            if server.link is not None and server.link.primary is self.old and server.runs:
                server.follow(self.new, deployment.pace.sync)
            elif server is not self.new:
                deployment.correct_later(server)
