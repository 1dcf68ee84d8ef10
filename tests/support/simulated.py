"""
Connections in memory to simulated servers, on a clock that a test advances.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import hiredis
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from simulation.redis.values import Version
from simulation.servers.node import Node
from simulation.servers.server import Server

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

    def ask(self, *words: bytes | str | int) -> Any:
        """Send a command and return the one reply to it."""
        self.send(*words)
        [reply] = self.take()
        return reply


def turn(clock: Any) -> None:
    """Let everything arrive that is on its way."""
    for _ in range(20):
        clock.advance(0)


def asking(node: Node) -> Ask:
    """Return what sends commands to a simulated process, over one connection."""
    clock: Any = node.clock
    client = Client(clock, node)

    def ask(*words: str) -> Any:
        client.send(*words)
        replies = client.take()
        while not replies:
            clock.advance(0.01)
            replies = client.take()
        return described(replies[0])

    return ask


class Nothing:
    """A data set without commands."""

    used_memory = 1_000_000
    changes = 0

    def execute(self, *effect: Any) -> None:
        raise AssertionError("there is nothing to apply")


def make_server(version: Version = Version.VALKEY_9_1, clock: Clock | None = None, host: str = "10.0.0.1") -> Server:
    """Return a server whose wall clock began at a round number."""
    clock = clock or Clock()
    return Server(host, 6379, clock, lambda: 1_700_000_000_000 + round(clock.seconds() * 1000), Nothing, version)


def described(reply: Any) -> Any:
    """Return a reply that can be compared: errors are equal if their words are."""
    if isinstance(reply, list):
        return [described(each) for each in reply]
    return f"-{reply}" if isinstance(reply, hiredis.ReplyError) else reply


@contextmanager
def asking_real(port: int) -> Iterator[Ask]:
    """Send commands to a real server, over one connection."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        reader = hiredis.Reader()

        def ask(*words: str) -> Any:
            connection.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]
            while (reply := reader.gets()) is False:
                data = connection.recv(65_536)
                assert data, f"the server has hung up after {words}"
                reader.feed(data)
            return described(reply)

        yield ask
