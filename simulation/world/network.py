"""
The network of a simulated world: connections over which bytes take time, or do not arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from simulation.world.timeline import Happening, Timeline

#: Seconds that a message takes, at least and at most.
_QUICKEST: Final = 0.0001
_SLOWEST: Final = 0.001
#: Bytes under way from which a sender is told to wait.
_WINDOW: Final = 131_072

#: Called with each message that is sent: the transport, and the bytes.
Watcher = Callable[["Transport", bytes], None]


@attrs.define(eq=False)
class Way:
    """
    One direction between two hosts.

    @ivar extra: seconds that each message takes longer.
    @ivar silences: how many faults let nothing arrive.
    @ivar refuses: how many faults let no connection be made.
    @ivar piece: the most bytes that arrive at once; 0: there is no limit.
    @ivar trap: what becomes of the next message: C{half}, C{swallow} or empty.
    """

    source: str
    target: str
    random: Random
    extra: float = 0.0
    silences: int = 0
    refuses: int = 0
    piece: int = 0
    trap: str = ""
    held: dict[Transport, None] = attrs.field(factory=dict, init=False)

    @property
    def silent(self) -> bool:
        """Whether nothing arrives, for now."""
        return self.silences > 0

    def delay(self) -> float:
        return _QUICKEST + (_SLOWEST - _QUICKEST) * self.random.random() + self.extra


@implementer(ITransport, IPushProducer, IConsumer)
class Transport:
    """
    One end of a connection.

    @ivar peer: the other end.
    @ivar protocol: gets what arrives; C{None} until the connection is made.
    @ivar lost: whether the connection is lost for this end.
    """

    disconnecting = False
    TLS = False

    def __init__(self, network: Network, process: Any, way: Way, port: int, peer_port: int) -> None:
        self.network, self.process, self.way = network, process, way
        self.peer: Transport
        self.protocol: Any = None
        self.port, self.peer_port = port, peer_port
        self.lost = self._has_written_all = False
        self._arrives = 0.0
        self._held: list[tuple[bytes | None, str]] = []
        self._inbox: deque[bytes] = deque()
        self._reading = True
        self._under_way = 0
        self._producer: Any = None
        self._producer_waits = self._closes = False
        self.read_size = 4_096

    # What protocols call

    def write(self, data: bytes) -> None:
        if data and not (self.lost or self._has_written_all) and self.process.alive:
            self._under_way += len(data)
            network = self.network
            if network.watchers:
                for watcher in network.watchers:
                    watcher(self, data)
                if self.lost or not self.process.alive:
                    return
            way = self.way
            if way.trap:
                self._spring(data)
            elif way.piece:
                for start in range(0, len(data), way.piece):
                    self._send(data[start : start + way.piece])
            else:
                self._send(data)
            if self._producer is not None and not self._producer_waits and self._under_way > _WINDOW:
                self._producer_waits = True
                self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once all is written."""
        self.disconnecting = self._closes = True
        if self._producer is None:
            self._finish_writing()

    def loseWriteConnection(self) -> None:
        """Tell the other end that nothing follows."""
        self._write_end()

    def abortConnection(self) -> None:
        """Lose the connection now, with all that is under way."""
        if not self.lost:
            self.network.timeline.add(self.network.timeline.seconds(), self.process, self.lose, ConnectionLost())
            self.reset_peer()
            self.lost = True

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        if not self._reading:
            self._reading = True
            if self._inbox:
                timeline = self.network.timeline
                timeline.add(timeline.seconds(), self.process, self._read_on, is_message=True)

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._closes:
            self._finish_writing()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.way.target, self.peer_port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.way.source, self.port)

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    # On the way

    def reset_peer(self) -> None:
        if not self.way.silent:
            self.peer.lose_later(self.way.delay(), ConnectionLost("Connection reset"))

    def _finish_writing(self) -> None:
        self._write_end()
        timeline = self.network.timeline
        timeline.add(timeline.seconds(), self.process, self.lose, ConnectionDone())

    def _write_end(self) -> None:
        if not (self._has_written_all or self.lost):
            self._has_written_all = True
            self._send(None)

    def _send(self, data: bytes | None, then: str = "") -> None:
        if self.way.silent or self._held:
            self._held.append((data, then))
            self.way.held[self] = None
            return
        network = self.network
        timeline = network.timeline
        arrives = timeline.seconds() + self.way.delay()
        if arrives <= self._arrives:
            arrives = self._arrives
        self._arrives = arrives
        timeline.add(arrives, self.peer.process, self.peer.arrive, data, is_message=True)
        if then:
            timeline.add(arrives, None, self.cut)

    def _spring(self, data: bytes) -> None:
        trap, self.way.trap = self.way.trap, ""
        self._has_written_all = True  # nothing arrives behind a gap
        if trap == "half" and len(data) > 1:
            self._send(data[: len(data) // 2], "cut")
        else:
            timeline = self.network.timeline
            timeline.add(timeline.seconds() + self.way.delay(), None, self.cut)

    def release(self) -> None:
        """Send what was held while the way was silent."""
        held, self._held = self._held, []
        for data, then in held:
            self._send(data, then)

    # What arrives

    def arrive(self, data: bytes | None) -> None:
        if self.lost:
            if data is not None and not self.peer.lost:
                self.reset_peer()
        elif data is not None and self._reading and not self._inbox and self.protocol is not None:
            self._take(data)
        else:
            self._inbox.append(b"" if data is None else data)
            self._read_on()

    def _read_on(self) -> None:
        while self._inbox and self._reading and self.protocol is not None and not self.lost:
            data = self._inbox.popleft()
            if data:
                self._take(data)
            else:
                self._end()

    def _take(self, data: bytes) -> None:
        self.peer.taken(len(data))
        try:
            self.protocol.dataReceived(data)
        except Exception as error:
            self.process.fail(error)
            self.abortConnection()

    def taken(self, size: int) -> None:
        """Note that the other end has read bytes."""
        self._under_way -= size
        if self._producer_waits and self._under_way < _WINDOW // 2:
            self._producer_waits = False
            timeline = self.network.timeline
            timeline.add(timeline.seconds(), self.process, self._resume_producer, is_message=True)

    def _resume_producer(self) -> None:
        if self._producer is not None and not self.lost:
            self._producer.resumeProducing()

    def _end(self) -> None:
        """The other end writes nothing more."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._write_end()
            self.lose(ConnectionDone())

    def lose_later(self, delay: float, why: Exception) -> None:
        timeline = self.network.timeline
        timeline.add(max(self._arrives_here(), timeline.seconds() + delay), self.process, self.lose, why)

    def _arrives_here(self) -> float:
        return self.peer._arrives

    def cut(self) -> None:
        """Lose the connection at both ends, with all that is under way."""
        for end in (self, self.peer):
            if not end.lost:
                end.lost = True
                timeline = self.network.timeline
                timeline.add(timeline.now, end.process, end.lose, ConnectionLost("Connection reset"), is_message=True)

    def lose(self, why: Exception) -> None:
        """Tell the protocol that the connection is lost."""
        self.lost = True
        self._inbox.clear()
        self._producer = None
        self.network.forget(self)
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(why))


@attrs.define(eq=False)
class Network:
    """
    All connections, and the ways that they take.

    @ivar seed: of the time that messages take.
    @ivar watchers: see each message that is sent.
    """

    timeline: Timeline
    seed: int
    watchers: list[Watcher] = attrs.field(factory=list, init=False)
    ends: dict[Transport, None] = attrs.field(factory=dict, init=False)
    _ways: dict[tuple[str, str], Way] = attrs.field(factory=dict, init=False)
    _listening: dict[tuple[str, int], tuple[Any, Any]] = attrs.field(factory=dict, init=False)
    _port: int = attrs.field(default=40_000, init=False)

    def way(self, source: str, target: str) -> Way:
        """Return one direction between two hosts."""
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = Way(source, target, Random(f"{self.seed} {source} {target}"))
        return way

    def listen(self, process: Any, port: int, factory: Any) -> bool:
        """Let connections to a port be made; return whether it was free."""
        if (holder := self._listening.get((process.host, port))) is not None and holder[0].alive:
            return False
        self._listening[process.host, port] = (process, factory)
        return True

    def stop_listening(self, process: Any, port: int) -> None:
        """Let no more connections to a port be made."""
        if self._listening.get((process.host, port), (None,))[0] is process:
            del self._listening[process.host, port]

    def connect(
        self, process: Any, host: str, port: int, made: Callable[[Transport], Any], failed: Callable[[Exception], None]
    ) -> Callable[[], None]:
        """
        Connect to a port.

        @param made: returns the protocol, which is told of its connection after.
        @return: gives up.
        """
        attempt = _Attempt(self, process, host, port, made, failed)
        attempt.begin()
        return attempt.give_up

    def pair(self, process: Any, port: int, acceptor: Any, factory: Any) -> Transport:
        """Make both ends of a connection, and let the other end accept it; return the first."""
        self._port += 1
        here = Transport(self, process, self.way(process.host, acceptor.host), self._port, port)
        there = Transport(self, acceptor, self.way(acceptor.host, process.host), port, self._port)
        here.peer, there.peer = there, here
        self.ends[here] = self.ends[there] = None
        self.timeline.add(self.timeline.now, acceptor, self._accept, there, factory, is_message=True)
        return here

    def _accept(self, end: Transport, factory: Any) -> None:
        if end.lost:
            return
        protocol = factory.buildProtocol(end.getPeer())
        if protocol is None:
            end.abortConnection()
            return
        end.protocol = protocol
        protocol.makeConnection(end)
        end._read_on()

    def forget(self, end: Transport) -> None:
        self.ends.pop(end, None)

    def between(self, one: str, other: str) -> list[Transport]:
        """Return the connections between two hosts, one end of each."""
        return [end for end in list(self.ends) if end.way.source == one and end.way.target == other]

    def drop(self, process: Any, with_word: bool = True) -> None:
        """
        Forget the connections and ports of a process that has ended.

        @param with_word: whether its kernel tells the other ends.
        """
        for end in list(self.ends):
            if end.process is process:
                end.lost = True
                self.forget(end)
                if with_word:
                    end.reset_peer()
        for key, (holder, _) in list(self._listening.items()):
            if holder is process:
                del self._listening[key]

    def silence(self, source: str, target: str, silent: bool) -> None:
        """Let nothing arrive in one direction, or let everything arrive that was held."""
        way = self.way(source, target)
        way.silences += 1 if silent else -1
        if not way.silences:
            held, way.held = way.held, {}
            for end in held:
                end.release()


@attrs.define(eq=False)
class _Attempt:
    """An attempt to connect."""

    network: Network
    process: Any
    host: str
    port: int
    made: Callable[[Transport], Any]
    failed: Callable[[Exception], None]
    _ended: bool = attrs.field(default=False, init=False)
    _next: Happening | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        there = self.network.way(self.process.host, self.host)
        timeline = self.network.timeline
        if not there.silent and not self.network.way(self.host, self.process.host).silent:
            self._next = timeline.add(timeline.seconds() + there.delay(), None, self._ask)

    def _ask(self) -> None:
        """The request to connect arrives."""
        network, process = self.network, self.process
        back = network.way(self.host, process.host)
        holder, factory = network._listening.get((self.host, self.port), (None, None))
        if self._ended or not process.alive or back.silent or self.host in process.world.dark:
            return
        at = network.timeline.now + back.delay()
        if holder is None or not holder.alive or back.refuses or network.way(process.host, self.host).refuses:
            self._next = network.timeline.add(at, process, self._fail, ConnectionRefusedError(), is_message=True)
            return
        end = network.pair(process, self.port, holder, factory)
        self._next = network.timeline.add(at, process, self._connected, end, is_message=True)

    def _connected(self, end: Transport) -> None:
        self._ended = True
        if end.lost:
            self.failed(ConnectionLost())
            return
        protocol = self.made(end)
        if protocol is None:
            end.abortConnection()
            return
        end.protocol = protocol
        protocol.makeConnection(end)
        end._read_on()

    def _fail(self, why: Exception) -> None:
        self._ended = True
        self.failed(why)

    def give_up(self, why: Exception | None = None) -> None:
        if not self._ended:
            self._ended = True
            if self._next is not None and self._next.active():
                self._next.cancel()
            self.failed(why or TimeoutError())
