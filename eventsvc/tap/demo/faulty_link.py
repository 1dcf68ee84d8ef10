"""
A link to Redis on which a fault happens every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure

#: Seconds between two faults, the least and the most.
_PAUSES: Final = (4.0, 8.0)
#: Seconds for which the link stalls, or connections are refused.
_LASTING: Final = 3.0


class _QuietClientFactory(ProxyClientFactory):
    noisy = False


class _Near(ProxyServer):
    """The connection of a role; its C{peer} is that to Redis."""

    clientProtocolFactory = _QuietClientFactory
    factory: _LinkFactory

    def connectionMade(self) -> None:
        self.factory.open.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.discard(self)
        super().connectionLost(reason)


class _LinkFactory(ProxyFactory):
    protocol = _Near
    noisy = False

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.open: set[_Near] = set()


@attrs.define(eq=False, slots=False)
class FaultyLink(Service):
    """
    Forwards connections on loopback to a port of this machine, until it is told to break them.

    @ivar port: where it listens.
    @ivar target: where it forwards to.
    """

    reactor: Any
    port: int
    target: int
    _factory: _LinkFactory = attrs.field(init=False)
    _listening: Any = attrs.field(default=None, init=False)

    @_factory.default
    def _make_factory(self) -> _LinkFactory:
        return _LinkFactory(self.target)

    def startService(self) -> None:
        super().startService()
        self.accept()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        self.cut()
        return self.refuse()

    def accept(self) -> None:
        """Accept connections, and let bytes through."""
        if self._listening is None and self.running:
            self._listening = self.reactor.listenTCP(self.port, self._factory, interface="127.0.0.1")
        for near in self._factory.open:
            if near.peer is not None:  # else it is not connected to Redis yet
                near.transport.resumeProducing()

    def cut(self) -> None:
        """Reset all connections."""
        for near in list(self._factory.open):
            transport: Any = near.transport
            transport.abortConnection()

    def stall(self) -> None:
        """Let no byte of the roles through, for as long as their connections stay."""
        for near in self._factory.open:
            near.transport.pauseProducing()

    def refuse(self) -> Deferred[Any]:
        """Accept no more connections."""
        listening, self._listening = self._listening, None
        return maybeDeferred(lambda: None if listening is None else listening.stopListening())


@attrs.define(eq=False, slots=False)
class Faults(Service):
    """
    Breaks a link every few seconds, and mends it.

    @ivar tell: called with a sentence about each fault.
    """

    link: FaultyLink
    clock: Any
    random: Random
    tell: Callable[[str], object]
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> None:
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.link.accept()

    def _wait(self) -> None:
        self._timer = self.clock.callLater(self.random.uniform(*_PAUSES), self._break)

    def _break(self) -> None:
        kind = self.random.choice(("cut", "stall", "refuse"))
        match kind:
            case "cut":
                self.tell("fault: all connections to Redis are reset")
                self.link.cut()
                self._wait()
                return
            case "stall":
                self.tell(f"fault: nothing gets through to Redis for {_LASTING:g} s")
                self.link.stall()
            case "refuse":
                self.tell(f"fault: Redis refuses connections for {_LASTING:g} s")
                self.link.refuse()
                self.link.cut()
        self._timer = self.clock.callLater(_LASTING, self._mend)

    def _mend(self) -> None:
        self.tell("the fault is over")
        self.link.accept()
        self._wait()
