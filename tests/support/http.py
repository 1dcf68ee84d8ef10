"""
HTTP over connections in memory: a client, its requests and the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.measures import Measures
from eventsvc.web.access import Access
from eventsvc.web.api import Api
from eventsvc.web.backlog import GroupBacklog
from eventsvc.web.destinations import make_destinations
from eventsvc.web.health import Health
from eventsvc.web.post_head import PostReader
from eventsvc.web.site import BoundedSite, make_site
from tests.support.producer_world import ProducerWorld, make_world

EVENT = b'{"description": "hello"}'

#: Bytes that wait for a client before its server is told to pause.
BUFFER = 65_536


@attrs.frozen
class Response:
    """An answer; its header names are as sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Return the members of an error body."""
        assert self.headers["Content-Type"] == "application/json"
        members: dict[str, Any] = json.loads(self.body)
        assert members["status"] == self.status
        return members


def read_responses(data: bytes, bodies: bool = True) -> list[Response]:
    """
    Parse bytes into answers; all bytes must be used.

    @param bodies: whether the answers have bodies; those to HEAD do not.
    """
    responses = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"the last head is not complete: {head!r}"
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0")
        headers = dict(line.split(": ", 1) for line in lines)
        assert len(headers) == len(lines), f"a header came twice: {lines}"
        length = int(headers["Content-Length"]) if bodies and not status.startswith("1") else 0
        assert len(data) >= length, f"the body is not complete: {data!r}"
        responses.append(Response(int(status), headers, data[:length]))
        data = data[length:]
    return responses


def without_date(data: bytes) -> bytes:
    """Return the bytes without their C{Date}."""
    return re.sub(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"", data)


@implementer(ITransport, IPushProducer, IConsumer)
@attrs.define(eq=False, slots=False)
class Connection:
    """
    A client, and the server's transport to it.

    Like a real one it ends the connection in a later turn of the reactor,
    and once all was written.

    @ivar received: the bytes received.
    @ivar reading: whether the client reads what the server writes.
    @ivar paused: whether the server has paused reading.
    @ivar ended: whether the client has seen the end of the answers.
    @ivar lost: whether the connection is gone.
    @ivar aborted: whether the server cut it off.
    """

    clock: Clock
    protocol: Any
    received: bytearray = attrs.field(factory=bytearray)
    reading: bool = True
    paused: bool = False
    ended: bool = False
    lost: bool = False
    aborted: bool = False
    host: str = "127.0.0.1"
    disconnecting: bool = False
    producer: Any = None
    _unread: bytearray = attrs.field(factory=bytearray)
    _unsent: bytearray = attrs.field(factory=bytearray)
    _producer_paused: bool = False
    _half_closing: bool = False
    _client_ended: bool = False

    # The client

    def send(self, *pieces: bytes) -> None:
        """Send bytes; each piece arrives separately."""
        for piece in pieces:
            if self.paused:
                self._unsent += piece
            elif piece and not self.lost:
                self.protocol.dataReceived(piece)

    def end(self) -> None:
        """Close the sending side, and wait for answers."""
        self._client_ended = True
        if not self.lost and not self.paused:
            IHalfCloseableProtocol(self.protocol).readConnectionLost()

    def vanish(self) -> None:
        """Disconnect without waiting for answers."""
        self._lose(ConnectionDone())

    def read(self) -> None:
        """Read the waiting bytes, and from now on all others."""
        self.reading = True
        self._flow()

    def responses(self, bodies: bool = True) -> list[Response]:
        """Return the answers received."""
        return read_responses(bytes(self.received), bodies)

    def response(self, bodies: bool = True) -> Response:
        """Return the only answer received."""
        (response,) = self.responses(bodies)
        return response

    # The transport

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if not self.lost and not self.ended:
            self._unread += data
            self._flow()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.disconnecting:
            self._flow()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._flow()

    def loseWriteConnection(self) -> None:
        self._half_closing = True
        self._flow()

    def abortConnection(self) -> None:
        self.aborted = True
        self.clock.callLater(0, self._lose, ConnectionAborted())

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        if self.paused:
            self.paused = False
            self.clock.callLater(0, self._deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, 50_000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def _deliver(self) -> None:
        data, self._unsent = bytes(self._unsent), bytearray()
        if data:
            self.send(data)
        if self._client_ended:
            self.end()

    def _flow(self) -> None:
        if not self.reading:
            if len(self._unread) > BUFFER and self.producer is not None and not self._producer_paused:
                self._producer_paused = True
                self.producer.pauseProducing()
            return
        self.received += self._unread
        self._unread.clear()
        if self._producer_paused and self.producer is not None:
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self.clock.callLater(0, self._lose, ConnectionDone())
        elif self._half_closing and not self.ended:
            self.ended = True
            IHalfCloseableProtocol(self.protocol).writeConnectionLost()

    def _lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = self.ended = True
            if self.producer is not None:
                self.producer.stopProducing()
                self.producer = None
            self.protocol.connectionLost(Failure(reason))


@attrs.define(eq=False)
class Served:
    """The HTTP interface of a producer, with an appender in memory."""

    world: ProducerWorld
    api: Api
    site: BoundedSite
    connections: list[Connection] = attrs.field(factory=list)

    def connect(self, host: str = "127.0.0.1") -> Connection:
        """Connect a new client."""
        protocol: Any = self.site.buildProtocol(IPv4Address("TCP", host, 50_000))
        connection = Connection(self.world.clock, protocol, host=host)
        self.connections.append(connection)
        protocol.makeConnection(connection)
        return connection

    def run(self, seconds: float = 0.1) -> None:
        """Let time pass."""
        self.world.run(seconds)

    def exchange(self, request: bytes, bodies: bool = True) -> Response:
        """Send one request on a new connection, and return its answer."""
        connection = self.connect()
        connection.send(request)
        self.run()
        connection.vanish()
        return connection.response(bodies)

    def answer(self, request: bytes) -> bytes:
        """Send one request, and return the bytes received without the date."""
        connection = self.connect()
        connection.send(request)
        self.run()
        return without_date(bytes(connection.received))

    def post(self, body: bytes = EVENT, *headers: str, path: str = "/event") -> Response:
        """Send one POST on a new connection, and return its answer."""
        return self.exchange(post(body, *headers, path=path))

    def stored(self) -> list[str]:
        """Return the descriptions in the stream."""
        return self.world.stored()


def post(body: bytes = EVENT, *headers: str, path: str = "/event") -> bytes:
    """Return a plain POST request, with additional headers if given."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def head(*lines: str) -> bytes:
    """Return a POST of one event with exactly these headers."""
    return "\r\n".join(["POST /event HTTP/1.1", *lines, "", ""]).encode("latin-1")


def refusal(connection: Connection) -> Response:
    """Return the last answer on a connection of which the server has closed only its side."""
    response = connection.response()
    assert response.headers["Connection"] == "close"
    assert response.problem
    assert connection.ended
    assert not connection.lost
    return response


#: Makes a site without the fast path.
routes_alone = partial(make_site, fast_path=False)
#: What makes a site: with the routes alone, and with the fast path in front.
MAKERS = [routes_alone, make_site]

#: Nothing waits to be handled.
DRAINED = Measures(unread=0, pending=0, unread_age=0.0, pending_age=0.0)

#: A producer that is well.
WELL = Health(
    is_live=lambda: True,
    not_ready=lambda: "",
    metrics=lambda: b"figures 1\n",
    backlog=lambda stream: GroupBacklog(
        stream, "group", Measures(unread=0, pending=0, unread_age=0.0, pending_age=0.0)
    ),
)


@contextmanager
def serving(
    make: Any = routes_alone,
    world: ProducerWorld | None = None,
    health: Health = WELL,
    timeout: float = 10.0,
    origins: frozenset[bytes] = frozenset(),
    others: Mapping[str, ProducerWorld] = {},
    access: Access | None = None,
) -> Iterator[Served]:
    """
    Serve, and check at the end that nothing is left.

    @param others: more streams, on the clock of the first.
    """
    world = world or make_world()
    appenders = {"stream": world.appender, **{name: other.appender for name, other in others.items()}}
    api = Api(PostReader(make_destinations(appenders), access, origins), health)
    served = Served(world, api, make(api, timeout, world.clock))
    yield served
    for connection in served.connections:
        connection.vanish()
    for appender in appenders.values():
        appender.stop()
    served.run(10.0)
    assert served.world.clock.getDelayedCalls() == []
