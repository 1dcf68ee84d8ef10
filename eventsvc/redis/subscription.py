"""
A subscription to what one Sentinel announces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from eventsvc.redis.describe_error import describe_error
from eventsvc.redis.sentinels import describe_reply

#: A replica has been told to become the primary.
PROMOTING: Final = "+failover-state-wait-promotion"
#: Beside it: a replica has become the primary; a Sentinel names another address from now on.
CHANNELS: Final = (PROMOTING, "+promoted-slave", "+switch-master")
#: Seconds between two signs of life that are asked for, and of silence after which a Sentinel is gone.
_PING: Final = 1.0
_SILENT: Final = 2.5
#: Most bytes of one message.
_MOST: Final = 65_536


class Subscription(Protocol):
    """
    One connection that receives messages, until it is lost.

    L{eventsvc.redis.session.Session} ends at a reply that no command waits for; here every message is one.

    @ivar reason: why it ended or is ending; empty while it is usable.
    @ivar announced: called with the channel and the text of each message.
    @ivar opened: called once all channels are subscribed to.
    """

    def __init__(
        self,
        clock: IReactorTime,
        credentials: Sequence[str],
        announced: Callable[[bytes, bytes], object],
        opened: Callable[[], object],
    ) -> None:
        self.clock = clock
        self.credentials = credentials
        self.announced = announced
        self.opened = opened
        self.reason = ""
        self._due = len(CHANNELS)
        self._reader = hiredis.Reader()
        self._pending = 0
        self._heard = 0.0
        self._timer: IDelayedCall | None = None
        self._gone = False
        self._watchers: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        """Log in and subscribe."""
        self._heard = self.clock.seconds()
        self._timer = self.clock.callLater(_PING, self._ping)
        if self.credentials:
            self._send("AUTH", *self.credentials)
        self._send("SUBSCRIBE", *CHANNELS)

    def dataReceived(self, data: bytes) -> None:
        """Parse messages and replies."""
        self._heard = self.clock.seconds()
        self._reader.feed(data)
        self._pending += len(data)
        try:
            while not self.reason and (reply := self._reader.gets()) is not False:
                self._pending = 0
                self._receive(reply)
        except hiredis.HiredisError:
            self.abort("does not speak the Redis protocol")
        if self._pending > _MOST:
            self.abort("sends too long a message")

    def _receive(self, reply: Any) -> None:
        match reply:
            case [b"message", bytes() as channel, bytes() as text]:
                self.announced(channel, text)
            case [b"subscribe", *_] if self._due:
                self._due -= 1
                if not self._due:
                    self.opened()
            case hiredis.ReplyError() if self._due:
                self.abort(describe_reply(str(reply)))
            case _:
                pass  # OK, PONG, or that the user may not PING: a sign of life

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.reason = self.reason or describe_error(reason).removeprefix("Redis ")
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._watchers:
            self._watchers.pop(0).callback(None)

    def when_lost(self) -> Deferred[None]:
        """Fire once the connection is lost."""
        if self._gone:
            return succeed(None)
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    def abort(self, why: str) -> None:
        """Abort the connection at once."""
        if not self.reason:
            self.reason = why
            self.transport.abortConnection()  # type: ignore[union-attr]

    def _send(self, *words: str) -> None:
        self.transport.write(hiredis.pack_command(words))  # type: ignore[union-attr, arg-type]

    def _ping(self) -> None:
        self._timer = self.clock.callLater(_PING, self._ping)
        if self.clock.seconds() - self._heard >= _SILENT:
            self.abort(f"silent for {_SILENT:g} s")
        elif not self.reason:
            self._send("PING")
