"""
Tests for HTTP under TLS in memory, with and without the fast path.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.protocols.tls import TLSMemoryBIOFactory

from eventsvc.web.limits import LINGER
from tests.support.certificates import Authority
from tests.support.http import MAKERS, Connection, Response, Served, post, read_responses, serving


@attrs.define(eq=False)
class Client:
    """
    A TLS client over a connection in memory.

    @ivar ended: whether the server has closed its sending side.
    """

    served: Served
    connection: Connection
    received: bytearray = attrs.field(factory=bytearray)
    ended: bool = False
    _from_server: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    _to_server: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    _tls: ssl.SSLObject = attrs.field(init=False)

    @_tls.default
    def _make_tls(self) -> ssl.SSLObject:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_bio(self._from_server, self._to_server)

    def connect(self) -> None:
        """Do the TLS handshake."""
        for _ in range(5):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()

    def send(self, data: bytes) -> None:
        """Send bytes, and receive what comes back."""
        self._tls.write(data)
        self._exchange()

    def run(self, seconds: float = 0.1) -> None:
        """Advance the clock, and receive what comes back."""
        self.served.run(seconds)
        self._exchange()

    def _exchange(self) -> None:
        self.connection.send(self._to_server.read())
        self.served.run(0.0)
        self._from_server.write(bytes(self.connection.received))
        self.connection.received.clear()
        try:
            while data := self._tls.read():
                self.received += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass

    def responses(self) -> list[Response]:
        """Return the answers received."""
        return read_responses(bytes(self.received))


@pytest.fixture(params=MAKERS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with serving(request.param) as served:
        clock: Any = served.world.clock
        factory = TLSMemoryBIOFactory(Authority().issue("localhost"), False, served.site, clock)
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50_000))
        connection = Connection(clock, protocol)
        served.connections.append(connection)
        protocol.makeConnection(connection)
        made = Client(served, connection)
        made.connect()
        yield made


def test_events_are_taken_under_tls(client: Client) -> None:
    """One by one, pipelined, and on other routes."""
    client.send(post())
    client.run()
    client.send(post() + post() + post(path="/none"))
    client.run()
    assert [response.status for response in client.responses()] == [200, 200, 200, 404]
    assert client.served.stored() == ["hello"] * 3


def test_a_refusal_arrives_under_tls_before_the_end(client: Client) -> None:
    """A client that continues to send does not lose it."""
    client.send(post() + b"nonsense\r\n\r\n")
    client.send(b"more " * 1000)
    client.run()
    assert [response.status for response in client.responses()] == [200, 400]
    assert client.ended
    client.run(LINGER)
    assert client.connection.lost


def test_a_request_under_tls_has_its_time(client: Client) -> None:
    """However slowly its bytes arrive."""
    for byte in post()[:23]:
        client.send(bytes([byte]))
        client.run(0.5)
    assert [response.status for response in client.responses()] == [408]


def test_a_client_under_tls_that_goes_away_is_forgotten(client: Client) -> None:
    """Its requests are dropped too."""
    client.served.world.link.disconnect()
    client.send(post())
    client.connection.vanish()
    client.served.world.link.connect()
    client.served.run()
    assert not client.served.site.connections
    assert client.served.stored() == []
