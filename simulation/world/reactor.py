"""
The reactor of one simulated process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, UserError
from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IListeningPort,
    IReactorCore,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from simulation.world.network import Network
from simulation.world.timeline import Timeline
from simulation.world.transport import Transport


@implementer(IHostnameResolver)
class _Names:
    """Resolves names as the network does: a host is addressed by its name."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, addressTypes: Any = None, *_: Any
    ) -> Any:
        resolutionReceiver.resolutionBegan(self)
        resolutionReceiver.addressResolved(IPv4Address("TCP", self.network.resolve(hostName), portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver


@implementer(IReactorCore, IReactorTime, IReactorTCP, IReactorPluggableNameResolver)
class SimulatedReactor:
    """
    Runs one process of a world.

    @ivar running: whether it has been started.
    """

    def __init__(self, process: Any) -> None:
        self.process = process
        self.timeline = process.world.timeline
        self.network = process.world.network
        self.nameResolver = _Names(self.network)
        self.running = False
        self.seconds = self.timeline.seconds
        self._when_running: list[tuple[Any, Any, Any]] = []
        self._triggers: dict[str, list[tuple[Any, Any, Any]]] = {"before": [], "during": [], "after": []}
        self._stopping = False

    # IReactorTime

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kwargs: Any) -> IDelayedCall:
        assert delay >= 0, delay
        timeline: Timeline = self.timeline
        return timeline.add(timeline.seconds() + delay, self.process, callable, *args, **kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return []

    def callFromThread(self, call: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
        self.callLater(0, call, *arguments, **keywords)

    # IReactorCore

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        if self.running:
            callable(*args, **kwargs)
        else:
            self._when_running.append((callable, args, kwargs))

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., object], *args: Any, **kwargs: Any
    ) -> object:
        if eventType == "shutdown":
            self._triggers[phase].append((callable, args, kwargs))
        return (phase, callable)

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        phase, call = triggerID
        self._triggers[phase] = [each for each in self._triggers[phase] if each[0] is not call]

    def run(self) -> None:
        """Begin; returns at once."""
        self.running = True
        calls, self._when_running = self._when_running, []
        for call, arguments, keywords in calls:
            call(*arguments, **keywords)

    def stop(self) -> None:
        """Shut down as a reactor does: triggers before, during and after."""
        if not self._stopping:
            self._stopping = True
            Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for phase in ("before", "during", "after"):
            for call, arguments, keywords in self._triggers[phase]:
                await maybeDeferred(call, *arguments, **keywords)
        self.process.end(0)

    def suggestThreadPoolSize(self, size: int) -> None: ...

    def crash(self) -> None:
        """Do nothing: nobody calls it."""

    def fireSystemEvent(self, eventType: str) -> None:
        """Do nothing: nobody calls it."""

    def iterate(self, delay: float = 0) -> None:
        """Do nothing: the timeline runs."""

    def resolve(self, name: str, timeout: Any = ()) -> Any:
        """Resolve a name to itself."""
        return succeed(name)

    def installNameResolver(self, resolver: Any) -> Any:
        """Keep the resolver that there is."""
        return self.nameResolver

    # IReactorTCP

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Connector:
        connector = Connector(self, host, port, factory, timeout)
        connector.connect()
        return connector

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening


@implementer(IConnector)
class Connector:
    """An attempt of a client to connect, and the connection that comes of it."""

    def __init__(self, reactor: SimulatedReactor, host: str, port: int, factory: Any, timeout: float) -> None:
        self.reactor, self.host, self.port = reactor, host, port
        self.factory, self.timeout = factory, timeout
        self._give_up: Any = None
        self._timer: Any = None
        self._end: Transport | None = None

    def connect(self) -> None:
        self.factory.doStart()
        self.factory.startedConnecting(self)
        self._give_up = self.reactor.network.connect(
            self.reactor.process, self.host, self.port, self._made, self._failed
        )
        self._timer = self.reactor.callLater(self.timeout, self._give_up)

    def _made(self, end: Transport) -> Any:
        self._end, self._give_up = end, None
        self._timer.cancel()
        return self.factory.buildProtocol(end.getPeer())

    def _failed(self, why: Exception) -> None:
        self._give_up = None
        if self._timer.active():
            self._timer.cancel()
        self.factory.clientConnectionFailed(self, Failure(why))
        self.factory.doStop()

    def stopConnecting(self) -> None:
        if self._give_up is not None:
            self._give_up(UserError())

    def disconnect(self) -> None:
        if self._end is not None:
            self._end.loseConnection()
        else:
            self.stopConnecting()

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, self.port)


@implementer(IListeningPort)
class Port:
    """A port on which a process listens."""

    def __init__(self, port: int, factory: Any, backlog: int, interface: str, reactor: SimulatedReactor) -> None:
        self.port, self.factory, self.reactor = port, factory, reactor

    def startListening(self) -> None:
        process = self.reactor.process
        if not self.reactor.network.listen(process, self.port, self.factory):
            raise CannotListenError("", self.port, OSError(98, "Address already in use"))
        self.factory.doStart()

    def stopListening(self) -> None:
        self.reactor.network.stop_listening(self.reactor.process, self.port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.reactor.process.host, self.port)
