"""
Tests for L{eventsvc.net.immediate_write}: on a pair of sockets, without a running
reactor.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure

from eventsvc.net.immediate_write import immediate_write
from eventsvc.net.tls_transport import TLSFactory
from tests.support.certificates import Authority
from tests.support.tls import trusting


@attrs.define
class Pair:
    """A transport on one socket, and the socket of its peer."""

    transport: Any
    reactor: Any
    peer: socket.socket

    def received(self) -> bytes:
        """Return the bytes received so far."""
        try:
            return self.peer.recv(10_000_000)
        except BlockingIOError:
            return b""

    @property
    def waits(self) -> bool:
        """Return whether the reactor will write the rest."""
        return self.transport in self.reactor.getWriters()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    reactor: Any = MemoryReactor()
    made = Pair(Server(ours, Protocol(), ("127.0.0.1", 1), None, 0, reactor), reactor, peer)  # type: ignore[arg-type]
    yield made
    made.transport.connectionLost(Failure(ConnectionDone()))
    peer.close()


def test_an_answer_is_sent_at_once(pair: Pair) -> None:
    """The reactor is not involved."""
    write = immediate_write(pair.transport)
    write(b"one ")
    write(b"two")
    assert pair.received() == b"one two"
    assert not pair.waits


def test_what_the_kernel_does_not_take_waits_and_all_else_behind_it(pair: Pair) -> None:
    """The order is kept."""
    write = immediate_write(pair.transport)
    sent = bytes(range(256)) * 10_000
    write(sent)
    write(b"behind")
    received = pair.received()
    assert 0 < len(received) < len(sent)
    assert pair.waits
    while bool(pair.waits):
        write(b".")
        pair.transport.doWrite()
        received += pair.received()
    assert received.startswith(sent + b"behind")
    write(b"end")
    assert pair.received() == b"end"


def test_nothing_is_sent_before_what_waits_already(pair: Pair) -> None:
    """Those bytes were written in the usual way."""
    pair.transport.write(b"one ")
    immediate_write(pair.transport)(b"two")
    assert pair.received() == b""
    pair.transport.doWrite()
    assert pair.received() == b"one two"


def test_a_peer_that_is_gone_is_found_out_by_the_reactor(pair: Pair) -> None:
    """Writing raises nothing."""
    write = immediate_write(pair.transport)
    pair.peer.close()
    write(b"lost")
    assert pair.waits
    assert isinstance(pair.transport.doWrite(), Exception)


def test_writing_after_the_end_does_nothing(pair: Pair) -> None:
    """As with the usual C{write}."""
    write = immediate_write(pair.transport)
    pair.transport.connectionLost(Failure(ConnectionDone()))
    write(b"late")
    assert pair.received() == b""


def test_an_answer_under_tls_is_sent_at_once(pair: Pair) -> None:
    """Unless the kernel does not take it, or something waits already; the order is kept."""
    factory = TLSFactory(Authority().issue("localhost"), False, Factory.forProtocol(Protocol), Clock())
    transport: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    pair.transport.protocol = transport
    transport.makeConnection(pair.transport)
    client = trusting().wrap_socket(pair.peer, do_handshake_on_connect=False)
    for _ in range(4):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        pair.transport.doRead()
        pair.transport.doWrite()
    write = immediate_write(transport)
    write(b"one")
    assert client.recv(100) == b"one"
    transport.write(b"two ")
    write(b"three")
    with pytest.raises(ssl.SSLWantReadError):
        client.recv(100)
    pair.transport.doWrite()
    assert client.recv(100) + client.recv(100) == b"two three"
    transport.loseConnection()
    write(b"late")
    client.detach()


def test_other_transports_write_in_their_usual_way(pair: Pair) -> None:
    """Under TLS the fast way would send plain text."""
    transport = StringTransport()
    immediate_write(transport)(b"data")
    assert transport.value() == b"data"
    pair.transport.TLS = True
    assert immediate_write(pair.transport) == pair.transport.write
