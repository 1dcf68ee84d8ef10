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

    Source: Sentinels of Valkey 9.1 and Redis 6.2, three servers on one machine.

    @ivar notice: from the promotion until the Sentinel that leads has seen it, and names the new primary.
    @ivar follow: from then until the other replicas follow the new primary.
    @ivar spread: from then until each of the other Sentinels names it, by C{+switch-master}.
    @ivar switch: from then until the one that leads says C{+switch-master} too.
    @ivar correct: until a server that has come back, or was left behind, is told whom to follow.
    @ivar sync: until a replica is connected to another primary.
    """

    notice: float = 0.85
    follow: float = 0.06
    spread: Sequence[float] = (0.07, 0.09)
    switch: float = 1.1
    correct: float = 10.0
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
        """The server that the Sentinels name who hear each other; without Sentinels, one that runs as a primary."""
        if self.sentinels:
            return self._best_informed(self._talking() or self.sentinels).named
        return next((each for each in self.servers if each.link is None and each.up), self.servers[0])

    @staticmethod
    def _best_informed(sentinels: Sequence[Sentinel]) -> Sentinel:
        return max(sentinels, key=lambda each: each.epoch)

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
            for sentinel in self.sentinels:
                self.tell_later(sentinel, self.pace.spread[0])

    def tell_later(self, sentinel: Sentinel, seconds: float) -> None:
        """Make a Sentinel hear what the others name by then."""
        self.clock.callLater(seconds, self._tell, sentinel)

    def _tell(self, sentinel: Sentinel) -> None:
        talking = self._talking()
        if sentinel in talking:
            best = self._best_informed(talking)
            if best.epoch > sentinel.epoch:
                sentinel.learn(best.named, best.epoch)
                for server in self.servers:
                    self.correct_later(server)

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
        elif server.runs and server.link is None and (talking := self._talking()):
            _Failover(self, talking[0], primary, server).begin()  # a failover whose leader has died goes on


@attrs.define(eq=False)
class _Failover:
    """One failover, step by step; each step needs the Sentinel that leads it."""

    deployment: Deployment
    leader: Sentinel
    old: Server
    new: Server

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
        deployment, pace = self.deployment, self.deployment.pace
        self.leader.named, self.leader.epoch = self.new, deployment.next_epoch()
        self.leader.announce_replica(b"+promoted-slave", self.new, self.old)
        others = [each for each in deployment.sentinels if each is not self.leader]
        for sentinel, seconds in zip(others, pace.spread):
            deployment.tell_later(sentinel, seconds)
        self._next(pace.follow, self._lead_replicas)
        self._next(pace.switch, lambda: self.leader.announce_switch(self.old))

    def _lead_replicas(self) -> None:
        deployment = self.deployment
        for server in deployment.servers:
            if server.link is not None and server.link.primary is self.old and server.runs:
                server.follow(self.new, deployment.pace.sync)
            elif server is not self.new:
                deployment.correct_later(server)
