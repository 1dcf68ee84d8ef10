"""
A fake Redis whose replies a test chooses, without a reactor or sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import hiredis
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.redis.session import Session
from eventsvc.testing.clock import StrictClock


def bulk(text: bytes) -> bytes:
    """Return a bulk string in the Redis protocol."""
    return b"$%d\r\n%s\r\n" % (len(text), text)


#: Answers that are none.
SILENCE: Final = b""
HANG_UP: Final = b"(hang up)"

#: What a server in good health says to a handshake.
GOOD: Final = {
    "AUTH": b"+OK\r\n",
    "SELECT": b"+OK\r\n",
    "PING": b"+PONG\r\n",
    "COMMAND": b"*1\r\n*1\r\n" + bulk(b"xautoclaim"),
    "PREPARE": b"+OK\r\n",  # no command of Redis: what a test prepares a session with
    "ROLE": b"*3\r\n" + bulk(b"master") + b":0\r\n*0\r\n",
    "INFO": bulk(b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n"),
}


@attrs.define(eq=False, repr=False)
class Link:
    """
    One connection: the transport of a session, and its server side.

    @ivar commands: the commands received.
    """

    redis: FakeRedis
    session: Session
    commands: list[list[bytes]] = attrs.field(factory=list)
    open: bool = True
    _reader: Any = attrs.field(factory=hiredis.Reader)

    def names(self) -> list[str]:
        """Return the names of the received commands."""
        return [command[0].decode() for command in self.commands]

    def write(self, data: bytes) -> None:
        self.redis.wire.append(lambda: self._receive(data))

    def abortConnection(self) -> None:
        self.redis.wire.append(lambda: self.close(ConnectionAborted()))

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", *self.redis.address)

    def say(self, data: bytes) -> None:
        """Send bytes, in one piece."""
        self.session.dataReceived(data)

    def close(self, error: Exception | None = None) -> None:
        """Close the connection; cleanly unless an error is given."""
        if self.open:
            self.open = False
            self.session.connectionLost(Failure(error or ConnectionDone()))

    def _receive(self, data: bytes) -> None:
        self._reader.feed(data)
        while self.open and (command := self._reader.gets()):
            self.commands.append(command)
            answer = self.redis.answer(command)
            if answer == HANG_UP:
                self.close()
            elif answer != SILENCE:
                self.say(answer)


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False, repr=False)
class FakeRedis:
    """
    Accepts connections and answers by the name of the command.

    Sent bytes arrive when the test calls L{run}.

    @ivar state: "up"; "down" refuses connections, "gone" does not answer to
        them, and "hanging up" accepts and ends them.
    @ivar address: host and port.
    @ivar attempts: when connections were attempted.
    """

    address: tuple[str, int] = ("10.0.0.1", 6379)
    clock: Clock = attrs.field(factory=StrictClock)
    answers: dict[str, bytes] = attrs.field(factory=lambda: dict(GOOD))
    state: str = "up"
    attempts: list[float] = attrs.field(factory=list)
    links: list[Link] = attrs.field(factory=list)
    wire: list[Callable[[], None]] = attrs.field(factory=list)

    @property
    def link(self) -> Link:
        """Return the latest connection."""
        return self.links[-1]

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        self.attempts.append(self.clock.seconds())
        factory.doStart()
        attempt: Deferred[Any] = Deferred(self._cancel)
        self.wire.append(lambda: self._accept(factory, attempt))
        return attempt

    def _cancel(self, attempt: Deferred[Any]) -> None:
        """Fail as Twisted's endpoints do."""
        attempt.errback(ConnectingCancelledError(IPv4Address("TCP", *self.address)))

    def answer(self, command: list[bytes]) -> bytes:
        """Return the answer to a command: by its name, or by its name and the next word."""
        name, *more = [word.decode("utf-8", "replace") for word in command]
        return self.answers.get(" ".join([name, *more[:1]]), self.answers.get(name, SILENCE))

    def dial(self) -> Link:
        """Return a connection with a bare session."""
        return self._open(Session(self.clock))

    def _accept(self, factory: IProtocolFactory, attempt: Deferred[Any]) -> None:
        if attempt.called or self.state == "gone":
            return
        if self.state == "down":
            attempt.errback(ConnectionRefusedError(111))
            return
        session: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        link = self._open(session)
        attempt.callback(session)
        if self.state == "hanging up":
            link.close()

    def _open(self, session: Session) -> Link:
        link = Link(self, session)
        self.links.append(link)
        session.makeConnection(link)
        return link

    def run(self, seconds: float = 0.0) -> None:
        """Deliver what was sent, and advance the clock from one timer to the next."""
        end = self.clock.seconds() + seconds
        self._deliver()
        while calls := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]:
            self.clock.advance(max(0.0, min(calls) - self.clock.seconds()))
            self._deliver()
        self.clock.advance(end - self.clock.seconds())

    def _deliver(self) -> None:
        while self.wire:
            self.wire.pop(0)()
