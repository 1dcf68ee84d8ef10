"""
Tests for L{eventsvc.net.nested_poll}: on pairs of sockets, without a running
reactor.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from eventsvc.net.nested_poll import NestedPoll, listening_reactor

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")


class Recorder(Protocol):
    """Records what happens to a connection, and may react to it."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[object] = []
        self.on_data: Callable[[], None] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)
        self.on_data()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """Stays open when its peer closes its sending side."""

    def readConnectionLost(self) -> None:
        self.events.append("no more")

    def writeConnectionLost(self) -> None:
        self.events.append("no more of ours")


@attrs.define
class Polled:
    """A poll in a reactor that does not run, with connections on it."""

    reactor: Any = attrs.field(factory=MemoryReactor)
    poll: NestedPoll = attrs.field(init=False)
    peers: list[socket.socket] = attrs.field(factory=list)
    connections: list[Any] = attrs.field(factory=list)

    @poll.default
    def _make_poll(self) -> NestedPoll:
        return NestedPoll(self.reactor)

    def connect(self, protocol: Recorder) -> socket.socket:
        """Connect a protocol, and return the socket of its peer."""
        ours, peer = socket.socketpair()
        self.add(protocol, ours)
        self.peers.append(peer)
        return peer

    def add(self, protocol: Recorder, ours: socket.socket) -> None:
        """Give a protocol a connected socket."""
        ours.setblocking(False)
        connection: Any = Server(ours, protocol, ("127.0.0.1", 1), None, 0, self.poll)  # type: ignore[arg-type]
        protocol.makeConnection(connection)
        self.connections.append(connection)

    def watched(self) -> bool:
        """Return whether the reactor watches the poll."""
        return bool(self.reactor.getReaders() == [self.poll])

    def end(self) -> None:
        for each in self.connections:
            each.connectionLost(Failure(ConnectionDone()))
        for peer in self.peers:
            peer.close()
        assert not self.watched()


@pytest.fixture
def polled() -> Iterator[Polled]:
    made = Polled()
    yield made
    made.end()


def test_what_comes_is_read(polled: Polled) -> None:
    """All ready connections are read in one call, and no others."""
    protocols = [Recorder() for _ in range(3)]
    first, _, third = [polled.connect(protocol) for protocol in protocols]
    first.send(b"one")
    third.send(b"three")
    polled.poll.doRead()
    polled.poll.doRead()
    assert [protocol.events for protocol in protocols] == [[b"one"], [], [b"three"]]


def test_the_reactor_watches_as_long_as_there_are_readers(polled: Polled) -> None:
    """The poll is a reader that becomes ready when one of its readers does."""
    assert verifyObject(IReadDescriptor, polled.poll)
    assert not polled.watched()
    protocol = Recorder()
    peer = polled.connect(protocol)
    polled.connect(Recorder()).close()
    assert polled.watched()
    polled.poll.doRead()
    assert polled.watched()
    assert select.select([polled.poll], [], [], 0) == ([], [], [])
    peer.send(b"data")
    assert select.select([polled.poll], [], [], 0) == ([polled.poll], [], [])
    protocol.transport.pauseProducing()
    assert not polled.watched()
    polled.poll.doRead()
    assert protocol.events == []
    protocol.transport.resumeProducing()
    protocol.transport.resumeProducing()
    polled.poll.doRead()
    assert protocol.events == [b"data"]


def test_a_peer_that_closes_ends_the_connection(polled: Polled) -> None:
    """Earlier bytes are delivered first, then the reason."""
    protocol = Recorder()
    peer = polled.connect(protocol)
    protocol.transport.write(b"more than nothing waits")
    peer.send(b"last")
    peer.close()
    polled.poll.doRead()
    polled.poll.doRead()
    assert protocol.events == [b"last", ConnectionDone]
    assert polled.reactor.getWriters() == []


@pytest.mark.parametrize("protocol", [Recorder(), HalfCloser()])
def test_a_peer_that_resets_loses_the_connection(polled: Polled, protocol: Recorder) -> None:
    """The reason differs, and nobody waits for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    polled.add(protocol, ours)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    polled.poll.doRead()
    assert protocol.events == [ConnectionLost]


def test_a_peer_that_sends_no_more_may_have_its_answer(polled: Polled) -> None:
    """It is notified once, and nothing more is read."""
    protocol = HalfCloser()
    peer = polled.connect(protocol)
    protocol.transport.write(b"answer")
    peer.shutdown(socket.SHUT_WR)
    polled.poll.doRead()
    polled.poll.doRead()
    assert protocol.events == ["no more"]
    (writer,) = polled.reactor.getWriters()
    writer.doWrite()
    assert peer.recv(100) == b"answer"


@pytest.mark.parametrize("fails_again", [False, True])
def test_a_connection_that_fails_ends_alone(polled: Polled, fails_again: bool) -> None:
    """It is logged and affects no other connection, even if closing it fails too."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    failing, other = Recorder(), Recorder()
    failing.on_data = fail
    if fails_again:
        failing.connectionLost = fail  # type: ignore[assignment, method-assign]
    for protocol in failing, other:
        polled.connect(protocol).send(b"data")
    with capturedLogs() as logs:
        polled.poll.doRead()
    assert [event["log_failure"].type for event in logs] == [ZeroDivisionError] * (2 if fails_again else 1)
    assert failing.events == [b"data"] if fails_again else [b"data", ZeroDivisionError]
    assert other.events == [b"data"]


def test_who_was_ended_by_another_is_not_read(polled: Polled) -> None:
    """Both were ready, and the first one closed the second."""
    first, second = Recorder(), Recorder()
    for protocol in first, second:
        polled.connect(protocol).send(b"data")
    first.on_data = lambda: second.transport.connectionLost(Failure(ConnectionDone()))
    second.on_data = lambda: first.transport.connectionLost(Failure(ConnectionDone()))
    polled.poll.doRead()
    assert sorted([first.events, second.events], key=str) == [[ConnectionDone], [b"data"]]


def test_the_end_of_the_reactor_is_that_of_all(polled: Polled) -> None:
    """The reactor knows only the poll."""
    protocols = [Recorder(), Recorder()]
    for protocol in protocols:
        polled.connect(protocol)
    polled.poll.connectionLost(Failure(ConnectionLost()))
    assert [protocol.events for protocol in protocols] == [[ConnectionLost]] * 2


def test_without_epoll_the_reactor_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only slower."""
    reactor = MemoryReactor()
    monkeypatch.delattr(select, "epoll")
    assert listening_reactor(reactor) is reactor
