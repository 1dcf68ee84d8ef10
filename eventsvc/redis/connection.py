"""
A connection to Redis that always comes back, made of txredisapi's protocol.

Only the protocol is taken from txredisapi.  Its factory, pool and handler
queue commands without end while disconnected and stop reconnecting after a
failed handshake; L{Connection} takes their place.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import attrs
import hiredis
import txredisapi
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc.background import run_in_background
from eventsvc.interfaces import Refused, Unknown

assert txredisapi.hiredis is hiredis  # without it a fragile parser is used silently

#: Seconds a TCP connection, a handshake and an ordinary reply may take.
CONNECT_TIMEOUT: Final = 2.0
HANDSHAKE_TIMEOUT: Final = 2.0
REPLY_TIMEOUT: Final = 2.0

#: Error replies that say the command was not carried out.
_NOT_APPLIED: Final = frozenset(
    "ASK BUSY BUSYGROUP LOADING MASTERDOWN MISCONF MOVED NOAUTH NOGROUP NOPERM NOREPLICAS NOSCRIPT OOM READONLY "
    "UNBLOCKED WRONGPASS WRONGTYPE".split()
)
#: Those of them after which another connection may do better.
_CHANGE_CONNECTION: Final = frozenset("LOADING MASTERDOWN MOVED NOAUTH READONLY".split())

Argument = bytes | str | int


class ErrorReply(Refused):
    """Redis answered with an error that means nothing was done."""

    @property
    def code(self) -> str:
        return str(self).split(" ", 1)[0]


class NotConnected(Refused):
    """Nothing was sent."""


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
    One connection, for as long as it lasts.

    @ivar reason: why it ended or is about to; empty while it is good.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.callLater = clock.callLater
        self.clock = clock
        self.reason = ""
        self._gone = False
        self._watchers: list[Deferred[str]] = []

    def connectionMade(self) -> None:
        """Make a dead peer noticed; the handshake is L{Connection}'s."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            _set_user_timeout(self.transport, REPLY_TIMEOUT)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        try:
            super().dataReceived(data, unpause)
        except txredisapi.RedisError as error:
            self.abort(f"not the Redis protocol: {error}")

    def tryConvertData(self, data: object) -> object:
        """Replies stay as hiredis gives them."""
        return data

    def _build_command(self, *arguments: Any, **_: object) -> bytes:
        """hiredis is an order of magnitude quicker at this."""
        command: bytes = hiredis.pack_command(arguments)
        return command

    def replyReceived(self, reply: object) -> None:
        """
        Hand a reply to the oldest command that waits.

        # Note [Unsolicited reply]

        A reply that nobody waits for would be kept and given to the next
        command, and each later command would get the answer of the one
        before it: a false acknowledgement.

            server: (error on connect) -ERR max clients
            client: XADD a ->               <- takes "-ERR ..." for its own
            client: XADD b ->               <- takes a's reply for its own

        So it ends the connection instead.
        """
        if self.replyQueue.waiting:
            super().replyReceived(reply)
        else:
            self.abort(f"unsolicited reply: {reply!r:.200}")

    def connectionLost(self, reason: Failure) -> None:
        self.reason = self.reason or reason.getErrorMessage()
        self._gone = True
        super().connectionLost(reason)
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(self.reason)

    def when_lost(self) -> Deferred[str]:
        """Fire with the reason once the connection is gone."""
        if self._gone:
            return succeed(self.reason)
        watcher: Deferred[str] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    def abort(self, why: str) -> None:
        """Give the connection up at once; commands in flight become unknown."""
        if not self.reason:
            self.reason = why
            self.transport.abortConnection()

    def call(self, *arguments: Argument, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        """
        Send one command and fire with its reply.

        Fails with L{Refused} or L{Unknown}.  If no reply comes in time the
        connection is aborted: the commands behind this one wait in vain too.
        """
        if self.reason:
            return fail(NotConnected("Redis is not connected"))
        reply: Deferred[Any] = self.execute_command(*arguments, apply_timeout=False)
        late = self.clock.callLater(timeout, self.abort, f"no reply within {timeout:g} s")

        def settle(result: Any) -> Any:
            if late.active():
                late.cancel()
            return self._sort(result) if isinstance(result, Failure) else result

        return reply.addBoth(settle)

    def flush(self) -> None:
        """Send what was written now, not in the reactor's next turn."""
        write = getattr(self.transport, "doWrite", None)  # there is none under TLS
        if write is not None and not self.reason:
            write()

    async def run(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], timeout: float = REPLY_TIMEOUT
    ) -> Any:
        """Run a script, sending its text if the server does not know it."""
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *arguments, timeout=timeout)
        except ErrorReply as error:
            if error.code != "NOSCRIPT":
                raise
        return await self.call("EVAL", script.text, len(keys), *keys, *arguments, timeout=timeout)

    def _sort(self, failure: Failure) -> Failure:
        """Turn what went wrong into L{Refused} or L{Unknown}."""
        error = failure.value
        if isinstance(error, txredisapi.ResponseError):
            text = str(error)
            code = text.split(" ", 1)[0]
            if code in _CHANGE_CONNECTION:
                self.abort(text)
            return Failure(ErrorReply(text) if code in _NOT_APPLIED else Unknown(text))
        if isinstance(error, txredisapi.ConnectionError):
            return Failure(Unknown(f"connection to Redis lost: {self.reason or error}"))
        return failure


def _set_user_timeout(transport: Any, seconds: float) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    inner = getattr(transport, "transport", transport)  # under TLS
    if option is not None and hasattr(inner, "socket"):
        inner.socket.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


class _SessionFactory(Factory):
    noisy = False

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock

    def buildProtocol(self, address: IAddress | None) -> Session:
        return Session(self.clock)


def make_endpoint(reactor: Any, host: str, port: int, tls: bool, authorities: str) -> IStreamClientEndpoint:
    """
    Where to connect to.

    @param tls: speak TLS, and verify the certificate for C{host}.
    @param authorities: path of a PEM file to trust instead of the system's.
    """
    # A refused connection is only reported when the delay before the next
    # address is over, so that delay is part of every reconnection.
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT, attemptDelay=0.02)
    if not tls:
        return endpoint
    trust = None
    if authorities:
        found = re.findall(
            rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", Path(authorities).read_bytes(), re.S
        )
        trust = trustRootFromCertificates([Certificate.loadPEM(pem) for pem in found])
    return wrapClientTLS(optionsForClientTLS(host, trustRoot=trust), endpoint)


async def _nothing_to_prepare(session: Session) -> None:
    return None


def backoff(attempt: int, longest: float, jitter: Callable[[], float]) -> float:
    """
    Seconds to wait before a connection attempt, 1 being the first.

    It grows by a twentieth each time, so that an outage of t seconds is
    noticed to be over within about a twentieth of t.

    @param jitter: a number from 0 to 1; the pause varies by a tenth with it.
    """
    pause = 0.05 * 1.05 ** min(attempt - 1, 1_000)
    return min(pause * (0.9 + 0.2 * jitter()), longest)


@attrs.define(eq=False, slots=False)
class Connection(Service):
    """
    Keeps one L{Session} to Redis, from start to stop.

    No command is ever queued: without a session every call is refused.

    @ivar prepare: run on each new session after the handshake, before
        anybody else may use it.
    """

    endpoint: IStreamClientEndpoint
    clock: IReactorTime
    jitter: Callable[[], float]
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    database: int = 0
    retry_period: float = 2.0
    prepare: Callable[[Session], Awaitable[None]] = _nothing_to_prepare
    #: how often a session was made
    connects: int = attrs.field(default=0, init=False)
    _session: Session | None = attrs.field(default=None, init=False)
    _waiting: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _problem: str = attrs.field(default="", init=False)
    _log = Logger()

    @property
    def ready(self) -> bool:
        return self._session is not None

    def startService(self) -> None:
        super().startService()
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        running, self._running = self._running, None
        session, self._session = self._session, None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancel()
        if running is not None:
            running.cancel()
        if session is None:
            return succeed(None)
        session.abort("stopped")
        return session.when_lost().addCallback(lambda _: None)

    def when_ready(self) -> Deferred[None]:
        """Fire once there is a session: at once, or when there is one."""
        if self._session is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def call(self, *arguments: Argument, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        """Send one command; as L{Session.call}."""
        if self._session is None:
            return fail(NotConnected("Redis is not connected"))
        return self._session.call(*arguments, timeout=timeout)

    def run(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], timeout: float = REPLY_TIMEOUT
    ) -> Deferred[Any]:
        """Run a script; as L{Session.run}."""
        if self._session is None:
            return fail(NotConnected("Redis is not connected"))
        return ensureDeferred(self._session.run(script, keys, arguments, timeout))

    def flush(self) -> None:
        """As L{Session.flush}."""
        if self._session is not None:
            self._session.flush()

    def abort(self, why: str) -> None:
        """Give the present session up."""
        if self._session is not None:
            self._session.abort(why)

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                session = await self._connect()
                attempt = 0
                self._begin(session)
                self._note(await session.when_lost())
            except CancelledError:
                raise
            except Exception as error:
                self._note(str(error) or type(error).__name__)
            self._session = None
            attempt += 1
            await deferLater(self.clock, backoff(attempt, self.retry_period, self.jitter))

    async def _connect(self) -> Session:
        connecting = self.endpoint.connect(_SessionFactory(self.clock))
        try:
            session = cast(Session, await connecting.addTimeout(CONNECT_TIMEOUT, self.clock))
        except TimeoutError:
            raise NotConnected(f"no TCP connection within {CONNECT_TIMEOUT:g} s") from None
        late = self.clock.callLater(HANDSHAKE_TIMEOUT, session.abort, f"no handshake within {HANDSHAKE_TIMEOUT:g} s")
        try:
            await self._handshake(session)
            await self.prepare(session)
        except BaseException:
            session.abort("handshake failed")
            raise
        finally:
            if late.active():
                late.cancel()
        return session

    async def _handshake(self, session: Session) -> None:
        if self.password:
            user = [self.username] if self.username else []
            await session.call("AUTH", *user, self.password)
        if self.database:
            await session.call("SELECT", self.database)
        await session.call("PING")

    def _begin(self, session: Session) -> None:
        self._log.info("connected to Redis")
        self._problem = ""
        self.connects += 1
        self._session = session
        session.when_lost().addCallback(self._forget, session)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _forget(self, reason: str, session: Session) -> None:
        if self._session is session:
            self._session = None

    def _note(self, problem: str) -> None:
        """Log a problem once, not at every attempt."""
        if problem != self._problem:
            self._problem = problem
            self._log.warn("no connection to Redis: {problem}", problem=problem)
