"""
A receiver of webhooks on loopback that does whatever it is told to, and
handlers that post to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from eventsvc.event import Notification
from eventsvc.handlers.webhook import Webhook, make_webhook
from eventsvc.handlers.webhook_answer import WebhookFailed
from eventsvc.settings.webhook import WebhookSettings

reactor: Any = _reactor
EVENT = Notification(7, "hello", "2025-02-25T22:06:25Z")
KEY = b"A" * 32

#: What the receiver does with a whole request.
Reaction = Callable[["Connection"], object]


class Connection(Protocol):
    """The receiver's end; it reacts to each whole request."""

    transport: Any

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.lost: Deferred[None] = Deferred()
        self.data = b""

    def connectionMade(self) -> None:
        self.receiver.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if end and self.receiver.early is not None:
            self.receiver.early(self)
            self.receiver.early = None
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))
        }
        if end and len(body) >= int(headers["content-length"]):
            self.data = b""
            self.receiver.requests.append((head.split(b"\r\n")[0].decode(), headers, body))
            reactions = self.receiver.reactions
            (reactions.pop(0) if len(reactions) > 1 else reactions[0])(self)
            self.receiver.asked()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


@attrs.define
class Receiver:
    """
    A receiver on loopback; the last reaction is repeated.

    @ivar early: what it does once, with the head of a request.
    """

    port: int = 0
    early: Reaction | None = None
    reactions: list[Reaction] = attrs.field(factory=list)
    connections: list[Connection] = attrs.field(factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)

    def asked(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    def when_asked(self) -> Deferred[None]:
        """Fire with the next request."""
        self.waiting.append(Deferred())
        return self.waiting[-1]


class Connections(Factory):
    noisy = False

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def buildProtocol(self, address: object) -> Connection:
        return Connection(self.receiver)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens, until it and its connections are closed."""
    receiver = Receiver()
    port = reactor.listenTCP(0, Connections(receiver), interface="127.0.0.1")
    receiver.port = port.getHost().port
    yield receiver
    for connection in receiver.connections:
        connection.transport.abortConnection()
        pytest_twisted.blockon(connection.lost)
    pytest_twisted.blockon(port.stopListening())


@attrs.frozen
class Maker:
    """
    Makes handlers that post to a receiver.

    @ivar clock: times what the handlers time themselves.
    """

    receiver: Receiver
    made: list[Webhook] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=Clock)

    def __call__(self, path: str = "/hook", keys: tuple[bytes, ...] | None = (KEY,), **more: Any) -> Webhook:
        url = f"http://127.0.0.1:{self.receiver.port}{path}"
        settings = WebhookSettings(**{"url": url, "secret": keys, "allow_private": True, **more})
        handler = make_webhook(reactor, settings, lambda: 1_700_000_000_999_999_999)
        handler.clock = handler.connections.clock = self.clock
        self.made.append(handler)
        return handler

    def stop(self) -> None:
        for each in self.made:
            each.stop()


def answer(status: str, *headers: str, body: bytes = b"") -> Reaction:
    """Answer with a whole response."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.transport.write(head.encode() + body)


def write(data: bytes) -> Reaction:
    return lambda connection: connection.transport.write(data)


def close(connection: Connection) -> None:
    connection.transport.loseConnection()


def nothing(connection: Connection) -> None:
    """Let it wait."""


def write_and_close(data: bytes) -> Reaction:
    def react(connection: Connection) -> None:
        connection.transport.write(data)
        connection.transport.loseConnection()

    return react


OK = answer("204 No Content")


async def failure_of(handling: Awaitable[object], kind: type[Exception] = WebhookFailed) -> str:
    with pytest.raises(kind) as caught:
        await handling
    assert type(caught.value) is kind
    return str(caught.value)
