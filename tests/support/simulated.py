"""
Connections in memory to simulated servers, on a clock that a test advances.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import hiredis
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.embedded import NoServer
from simulation.redis.keyspace import Keyspace
from simulation.redis.values import Version
from simulation.servers.deployment import Deployment
from simulation.servers.node import Node
from simulation.servers.sentinel import Sentinel
from simulation.servers.server import Server
from tests.support.server_binaries import find_binary

#: The versions of the model, and the names of real servers.
MAKES = {Version.REDIS_6_2: "redis-6.2", Version.REDIS_7_0: "redis-7.0", Version.VALKEY_9_1: "valkey-9"}

Ask = Callable[..., Any]


@attrs.define(eq=False)
class Pipe:
    """One end of a connection: what is written arrives in the next turn of the clock."""

    clock: IReactorTime
    protocol: Any
    address: IPv4Address
    other: Pipe = attrs.field(init=False)
    open: bool = True

    def write(self, data: bytes) -> None:
        if self.open:
            self.clock.callLater(0, self.other._receive, data)

    def getPeer(self) -> IPv4Address:
        return self.address

    def loseConnection(self) -> None:
        self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self._end(ConnectionAborted())

    def _end(self, error: Exception) -> None:
        if self.open:
            self.clock.callLater(0, self._lose, error)
            self.clock.callLater(0, self.other._lose, ConnectionDone())

    def _receive(self, data: bytes) -> None:
        if self.open:
            self.protocol.dataReceived(data)

    def _lose(self, error: Exception) -> None:
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(error))


def join(clock: IReactorTime, client: Any, node: Node) -> None:
    """Connect a protocol to a simulated server that is up."""
    server = node.buildProtocol(None)
    assert server is not None
    near = Pipe(clock, client, IPv4Address("TCP", node.host, node.port))
    far = Pipe(clock, server, IPv4Address("TCP", "10.9.9.9", 40_000))
    near.other, far.other = far, near
    server.makeConnection(far)
    client.makeConnection(near)


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class SimulatedEndpoint:
    """Connects to a simulated server."""

    clock: IReactorTime
    node: Node

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        connected: Deferred[Any] = Deferred()
        self.clock.callLater(0, self._connect, protocolFactory, connected)
        return connected

    def _connect(self, factory: IProtocolFactory, connected: Deferred[Any]) -> None:
        if connected.called:
            return
        if not self.node.up:
            connected.errback(ConnectionRefusedError())
            return
        client = factory.buildProtocol(IPv4Address("TCP", self.node.host, self.node.port))
        join(self.clock, client, self.node)
        connected.callback(client)


@attrs.define(eq=False)
class Client:
    """
    Sends commands, and keeps what is answered.

    @ivar replies: those that nobody has taken.
    """

    clock: Any
    node: Node
    replies: list[Any] = attrs.field(factory=list)
    lost: bool = False
    transport: Any = None
    _reader: Any = attrs.field(factory=hiredis.Reader)

    def __attrs_post_init__(self) -> None:
        join(self.clock, self, self.node)

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self.replies.append(reply)

    def connectionLost(self, reason: Failure) -> None:
        self.lost = True

    def send(self, *words: bytes | str | int) -> None:
        """Send a command."""
        self.transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]

    def take(self) -> Any:
        """Return the replies so far, and forget them."""
        turn(self.clock)
        taken, self.replies = self.replies, []
        return taken

    def receive(self) -> Any:
        """Return the next reply, however long it takes; errors as texts."""
        turn(self.clock)
        while not self.replies:
            assert not self.lost
            self.clock.advance(0.01)
            turn(self.clock)
        return described(self.replies.pop(0))

    def ask(self, *words: bytes | str | int) -> Any:
        """Send a command and return the reply to it."""
        self.send(*words)
        return self.receive()


def turn(clock: Any) -> None:
    """Let everything arrive that is on its way."""
    for _ in range(5):
        clock.advance(0)


def asking(node: Node) -> Ask:
    """Return what sends commands to a simulated process, over one connection."""
    return Client(node.clock, node).ask


def make_server(version: Version = Version.VALKEY_9_1, clock: Clock | None = None, host: str = "10.0.0.1") -> Server:
    """Return a server whose wall clock began at a round number."""
    clock = clock or Clock()
    return Server(
        host, 6379, clock, lambda: 1_700_000_000_000 + round(clock.seconds() * 1000), lambda: Keyspace(version), version
    )


def make_pair(version: Version = Version.VALKEY_9_1) -> tuple[Server, Server]:
    """Return a primary and its replica, which are connected."""
    clock = Clock()
    primary, replica = make_server(version, clock), make_server(version, clock, "10.0.0.2")
    replica.follow(primary)
    clock.advance(1)
    return primary, replica


def make_deployment(version: Version = Version.VALKEY_9_1) -> Deployment:
    """Return three servers and three Sentinels, which have found each other."""
    clock = Clock()
    servers = [make_server(version, clock, f"10.0.0.{number}") for number in (1, 2, 3)]
    sentinels = [Sentinel(f"10.0.1.{number}", 26_379, clock, servers, 2, version) for number in (1, 2, 3)]
    deployment = Deployment(clock, servers, sentinels)
    clock.advance(1)
    return deployment


def described(reply: Any) -> Any:
    """Return a reply that can be compared: errors are equal if their words are."""
    if isinstance(reply, list):
        return [described(each) for each in reply]
    return f"-{reply}" if isinstance(reply, hiredis.ReplyError) else reply


@attrs.define
class RealClient:
    """As L{Client}, of a real server."""

    port: int
    _connection: socket.socket = attrs.field(init=False)
    _reader: Any = attrs.field(factory=hiredis.Reader)

    def __enter__(self) -> RealClient:
        self._connection = socket.create_connection(("127.0.0.1", self.port), 10)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def send(self, *words: bytes | str | int) -> None:
        self._connection.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]

    def receive(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._connection.recv(65_536)
            assert data, "the server has hung up"
            self._reader.feed(data)
        return described(reply)

    def ask(self, *words: bytes | str | int) -> Any:
        self.send(*words)
        return self.receive()


@contextmanager
def asking_real(port: int) -> Iterator[Ask]:
    """Send commands to a real server, over one connection."""
    with RealClient(port) as client:
        yield client.ask


def find_make(version: Version) -> str:
    """Return the program of a version; skip the test without."""
    try:
        return find_binary(MAKES[version])
    except NoServer as remedy:
        pytest.skip(str(remedy))


def versions() -> Sequence[Any]:
    """Return all versions, as parameters of tests."""
    return [pytest.param(version, id=name) for version, name in MAKES.items()]
