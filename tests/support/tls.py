"""
TLS clients of a site in memory.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from twisted.internet.address import IPv4Address

from eventsvc.net.tls_transport import TLSFactory
from tests.support.certificates import Authority
from tests.support.http import Connection, Response, Served, read_responses, serving


def trusting() -> ssl.SSLContext:
    """Return the context of a client that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@attrs.define(eq=False)
class TLSClient:
    """
    A TLS client, with the same methods as a L{Connection}, over a connection in memory.

    @ivar raw: the connection that carries the records.
    """

    served: Served
    raw: Connection
    context: ssl.SSLContext = attrs.field(factory=trusting)
    _ended: bool = False
    _received: bytearray = attrs.field(factory=bytearray)
    _from_server: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    _to_server: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    tls: ssl.SSLObject = attrs.field(init=False)

    @tls.default
    def _make_tls(self) -> ssl.SSLObject:
        return self.context.wrap_bio(self._from_server, self._to_server, server_hostname="localhost")

    def hello(self) -> bytes:
        """Return the first bytes of the handshake."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._to_server.read()

    def connect(self) -> TLSClient:
        """Do the TLS handshake."""
        for _ in range(5):
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self._pump()
        return self

    def _pump(self) -> None:
        self.raw.send(self._to_server.read())
        self.receive()

    def receive(self) -> None:
        """Decrypt what the server has written."""
        self._from_server.write(bytes(self.raw.received))
        self.raw.received.clear()
        try:
            while data := self.tls.read():
                self._received += data
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the client has ended too
            self._ended = True
        except ssl.SSLError:
            if not self.raw.lost:
                raise

    def send(self, *pieces: bytes) -> None:
        """Send bytes; each piece arrives separately."""
        for piece in pieces:
            for begin in range(0, len(piece), 16_384):  # a record each
                self.tls.write(piece[begin : begin + 16_384])
                self.raw.send(self._to_server.read())

    def end(self) -> None:
        """Close the sending side, and wait for answers."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        self.raw.send(self._to_server.read())

    def vanish(self) -> None:
        """Disconnect without waiting for answers."""
        self.raw.vanish()

    def read(self) -> None:
        """Read the waiting bytes, and from now on all others."""
        self.raw.read()

    @property
    def received(self) -> bytes:
        """The bytes received."""
        self.receive()
        return bytes(self._received)

    @property
    def ended(self) -> bool:
        """Whether the server has closed its sending side."""
        self.receive()
        return self._ended

    @property
    def lost(self) -> bool:
        return self.raw.lost

    @property
    def paused(self) -> bool:
        return self.raw.paused

    def responses(self) -> list[Response]:
        """Return the answers received."""
        return read_responses(self.received)


@attrs.define(eq=False)
class TLSServed:
    """
    A site behind TLS.

    @ivar creator: makes the server's TLS state of a connection.
    """

    served: Served
    creator: Any = attrs.field(factory=lambda: Authority().issue("localhost"))
    factory: Any = attrs.field(init=False)

    @factory.default
    def _make_factory(self) -> Any:
        return TLSFactory(self.creator, False, self.served.site, self.served.world.clock)

    def open(self, context: ssl.SSLContext | None = None) -> TLSClient:
        """Return a new connection before its handshake."""
        clock: Any = self.served.world.clock
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50_000))
        raw = Connection(clock, protocol)
        self.served.connections.append(raw)
        protocol.makeConnection(raw)
        return TLSClient(self.served, raw, context or trusting())

    def connect(self, context: ssl.SSLContext | None = None) -> TLSClient:
        """Connect a new client."""
        return self.open(context).connect()


@contextmanager
def serving_tls(make: Callable[..., Any], creator: Any = None, **more: Any) -> Iterator[TLSServed]:
    """Serve behind TLS, and check at the end that nothing is left."""
    with serving(make, **more) as served:
        yield TLSServed(served, creator) if creator is not None else TLSServed(served)
