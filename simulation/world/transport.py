"""
The ends of simulated connections.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds that a message takes, at least and at most.
_QUICKEST: Final = 0.0001
_SLOWEST: Final = 0.001
#: Bytes under way from which a sender is told to wait.
_WINDOW: Final = 131_072


@attrs.define(eq=False)
class Way:
    """
    One direction between two hosts.

    @ivar extra: seconds that each message takes longer.
    @ivar silences: how many faults let nothing arrive.
    @ivar refuses: how many faults let no connection be made.
    @ivar piece: the most bytes that arrive at once; 0: there is no limit.
    @ivar mark: its name as bytes.
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
    mark: bytes = attrs.field(init=False)

    @mark.default
    def _make_mark(self) -> bytes:
        return f"{self.source} {self.target} ".encode()

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

    def __init__(self, network: Any, process: Any, way: Way, port: int, peer_port: int) -> None:
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

    def serve(self, protocol: Any) -> None:
        """Give a protocol its connection, and what has arrived; without one, close."""
        if protocol is None:
            self.abortConnection()
            return
        self.protocol = protocol
        protocol.makeConnection(self)
        self._read_on()

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
