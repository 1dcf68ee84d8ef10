"""
One connection to Redis: the protocol of txredisapi, with timeouts and strict replies.

Only the protocol of txredisapi is used.  Its factory, pool and handler
queue commands without end while disconnected and stop reconnecting after a
failed handshake; L{eventsvc.redis.connection.Connection} takes their place.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import attrs
import hiredis
import txredisapi
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.python.failure import Failure

from eventsvc.interfaces import Unknown
from eventsvc.net.immediate_write import immediate_write
from eventsvc.redis.describe_error import describe_error
from eventsvc.redis.errors import CHANGE_CONNECTION, ErrorReply, NotConnected, sort_reply
from eventsvc.redis.silence import REPLY_TIMEOUT, Silence

assert txredisapi.hiredis is hiredis  # without it a fragile parser is used silently

#: The TCP options that detect a dead peer, where the system has them:
#: milliseconds until sent data must be confirmed, seconds of silence before a
#: keepalive probe, and seconds between probes.
_TCP_OPTIONS: Final = {"TCP_USER_TIMEOUT": int(REPLY_TIMEOUT * 1000), "TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1}

#: Codes of error replies that are part of normal operation.
_EXPECTED: Final = frozenset("BUSYGROUP NOGROUP NOSCRIPT UNBLOCKED".split())

Argument = bytes | str | int


@attrs.frozen
class Script:
    """A Lua script, called by its digest."""

    text: str
    sha: str = attrs.field(init=False)

    @sha.default
    def _digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Session(txredisapi.HiredisProtocol):  # type: ignore[misc]
    """
    One connection, until it is lost.

    @ivar reason: why it ended or is ending; empty while it is usable.
    @ivar complain: called with each unexpected error reply.
    """

    def __init__(self, clock: IReactorTime, complain: Callable[[str], object] = lambda reply: None) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.complain = complain
        self.reason = ""
        self.command = b""  # the last one that was sent
        self._told = ""  # as reason, without the text of Redis
        self._silence = Silence(clock, self.abort)
        self._sent_whole: set[str] = set()
        self._due = 0
        self._gone = False
        self._watchers: list[Deferred[str]] = []

    def connectionMade(self) -> None:
        """Set the TCP options that detect a dead peer; the handshake is not done here."""
        self._write = immediate_write(self.transport)
        tcp = getattr(self.transport, "transport", self.transport)  # the one under TLS
        if ITCPTransport.providedBy(tcp):
            self._silence.tcp = tcp
            tcp.setTcpNoDelay(True)
            tcp.setTcpKeepAlive(True)
            for name, value in _TCP_OPTIONS.items():
                if hasattr(socket, name):
                    cast(Any, tcp).socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    @property
    def told(self) -> str:
        """The reason without the text of Redis."""
        return self._told or self.reason

    @property
    def peer(self) -> str:
        """The address of the server."""
        address = self.transport.getPeer()
        return f"{address.host}:{address.port}" if hasattr(address, "port") else str(address)

    def dataReceived(self, data: bytes) -> None:
        """Parse replies; see the Note [Unsolicited reply]."""
        if self.reason:
            return
        self._silence.heard()
        self._due = len(self.replyQueue.waiting)
        if not self._due:
            self.abort(f"unsolicited reply: {data[:200]!r}", "unsolicited reply")
            return
        try:
            super().dataReceived(data)
        except txredisapi.RedisError as error:
            self.abort(f"not the Redis protocol: {error}", "not the Redis protocol")

    def tryConvertData(self, data: object) -> object:
        """Return replies as hiredis parses them."""
        return data

    def replyReceived(self, reply: object) -> None:
        """
        Pass a reply to the oldest waiting command.

        # Note [Unsolicited reply]

        A reply that no command waits for would be kept for the next command,
        and each later command would get the reply of the one before it: a
        false acknowledgement::

            server: (error on connect) -ERR max clients
            client: XADD a ->               <- reads "-ERR ..." as its reply
            client: XADD b ->               <- reads a's reply as its own

        So it ends the connection instead.  Received data can only answer
        commands that were sent before it: a command that is sent while the data
        is parsed does not count.
        """
        if self._due:
            self._due -= 1
            self._silence.answered()
            super().replyReceived(reply)
        else:
            self.abort(f"unsolicited reply: {reply!r:.200}", "unsolicited reply")

    def connectionLost(self, reason: Failure) -> None:
        self.reason = self.reason or describe_error(reason)
        self._gone = True
        self._silence.stop()
        while self.replyQueue.waiting:
            self.replyQueue.put(txredisapi.ConnectionError(self.reason))
        super().connectionLost(reason)
        while self._watchers:
            self._watchers.pop(0).callback(self.reason)

    def when_lost(self) -> Deferred[str]:
        """Fire with the reason once the connection is lost."""
        if self._gone:
            return succeed(self.reason)
        watcher: Deferred[str] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    def abort(self, why: str, told: str = "") -> None:
        """
        Abort the connection at once; commands in flight fail with L{Unknown}.

        @param told: the reason without the text of Redis, if C{why} contains it.
        """
        if not self.reason:
            self.reason, self._told = why, told
            self.transport.abortConnection()

    def call(self, *arguments: Argument, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        """
        Send one command and fire with its reply.

        Fails with L{eventsvc.interfaces.Refused} or L{Unknown}.  If Redis is silent
        for too long the connection is aborted, because later commands get no reply
        either.  This also applies to a cancelled command: it was sent, and its reply
        is still due.

        @param timeout: seconds until the reply; while bytes flow it may take
            longer, see L{Silence}.
        """
        if self.reason:
            return fail(NotConnected("Redis is not connected"))
        data = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its annotation is a tuple of one
        self.command = data
        self._write(data)
        self._silence.sent(len(data), timeout)
        answer: Deferred[Any] = Deferred()
        reply: Deferred[Any] = self.replyQueue.get()
        reply.addCallback(self._settle, answer)
        return answer

    def _settle(self, reply: object, answer: Deferred[Any]) -> None:
        if isinstance(reply, Exception):
            answer.errback(self._sort(reply))
        else:
            answer.callback(reply)

    def _sort(self, error: Exception) -> Exception:
        """Convert an error to L{eventsvc.interfaces.Refused} or L{Unknown}."""
        if not isinstance(error, txredisapi.ResponseError):
            return Unknown(f"connection to Redis lost: {self.told}")
        sorted = sort_reply(str(error))
        if isinstance(sorted, ErrorReply) and sorted.code in CHANGE_CONNECTION:
            self.abort(sorted.reply, str(sorted))
        elif not isinstance(sorted, ErrorReply) or sorted.code not in _EXPECTED:
            self.complain(sorted.reply)
        return sorted

    def run(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], timeout: float = REPLY_TIMEOUT
    ) -> Deferred[Any]:
        """
        Run a script, and send its text if the server does not know it.

        The first call on each connection carries the text, so that a large call
        need not be sent twice to a server that does not know the script.
        """
        rest = (len(keys), *keys, *arguments)
        if script.sha not in self._sent_whole:
            self._sent_whole.add(script.sha)
            return self.call("EVAL", script.text, *rest, timeout=timeout)

        def send_text(failure: Failure) -> Any:
            error = failure.value
            if isinstance(error, ErrorReply) and error.code == "NOSCRIPT":
                return self.call("EVAL", script.text, *rest, timeout=timeout)
            return failure

        return self.call("EVALSHA", script.sha, *rest, timeout=timeout).addErrback(send_text)
