"""
Keeps a connection to Redis, and reconnects whenever it is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.net.background import run_in_background
from eventsvc.redis.backoff import backoff
from eventsvc.redis.describe_error import describe_error, tell_error
from eventsvc.redis.endpoint import CONNECT_TIMEOUT, connect
from eventsvc.redis.errors import ErrorReply as ErrorReply
from eventsvc.redis.errors import NotConnected
from eventsvc.redis.questions import ask, credentials, no_primary, parse_info
from eventsvc.redis.session import Argument, Script
from eventsvc.redis.session import Session as Session
from eventsvc.redis.silence import REPLY_TIMEOUT
from eventsvc.redis.trouble import Trouble

#: Seconds a handshake may take, from the TCP connection to the first use.
HANDSHAKE_TIMEOUT: Final = 2.0


class _SessionFactory(Factory):
    noisy = False

    def __init__(self, clock: IReactorTime, complain: Callable[[str], None]) -> None:
        self.clock = clock
        self.complain = complain

    def buildProtocol(self, address: IAddress | None) -> Session:
        return Session(self.clock, self.complain)


async def _nothing_to_prepare(session: Session) -> None:
    return None


async def _no_problem(session: Session, role: Any) -> str:
    return ""


@attrs.define(eq=False, slots=False)
class Connection(Service):
    """
    Keeps one L{Session} to Redis, from start to stop.

    Commands are never queued: without a session every call is refused.

    @ivar prepare: called with each new session after the handshake, before
        anything else may use it.
    @ivar find_problem: returns why a primary is not enough, empty if it is.  It is
        called with the session and its reply to C{ROLE} (C{None} if that is
        forbidden), in the handshake and in each L{check}.
    @ivar lasting: whether confirmed events must survive a restart of Redis.
    """

    endpoint: IStreamClientEndpoint
    clock: IReactorTime
    jitter: Callable[[], float]
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    database: int = 0
    retry_period: float = 2.0
    prepare: Callable[[Session], Awaitable[None]] = _nothing_to_prepare
    find_problem: Callable[[Session, Any], Awaitable[str]] = _no_problem
    lasting: bool = True
    #: number of sessions so far
    connects: int = attrs.field(default=0, init=False)
    _session: Session | None = attrs.field(default=None, init=False)
    _waiting: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _opened: Session | None = attrs.field(default=None, init=False)
    _interruptible: Deferred[Any] | None = attrs.field(default=None, init=False)
    _hurried: bool = attrs.field(default=False, init=False)
    _tells_role: bool = attrs.field(default=True, init=False)
    _trouble: Trouble = attrs.field(init=False)
    _log = Logger()

    @_trouble.default
    def _make_trouble(self) -> Trouble:
        return Trouble(self.clock, self._log)

    @property
    def ready(self) -> bool:
        """Whether a command can be sent."""
        return self._session is not None and not self._session.reason

    @property
    def session(self) -> Session | None:
        """The present session; it may be ending."""
        return self._session

    @property
    def problem(self) -> str:
        """Why there is no connection, in words and without the text of Redis; empty if that is not known."""
        return "" if self.ready else self._trouble.told

    def startService(self) -> None:
        super().startService()
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        """Close the connection, fire once it is closed, and cancel the waiters of L{when_ready}."""
        super().stopService()
        for waiter in list(self._waiting):
            waiter.cancel()
        self.abort("stopped")
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    def when_ready(self) -> Deferred[None]:
        """Fire as soon as there is a session."""
        if self.ready:
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
        return self._session.run(script, keys, arguments, timeout)

    def abort(self, why: str) -> None:
        """Abort the present session; neither its end nor the reconnection is logged."""
        if self._session is not None:
            self._trouble.given_up(why)
            self._session.abort(why)

    def look_again(self, why: str) -> None:
        """
        Leave the session, the attempt or the pause in progress, and connect again at once.

        None of that is logged, unless the next attempt fails.
        """
        self._hurried = True
        if self.ready:
            self.abort(why)
        if self._opened is not None:
            self._opened.abort(why)
        if self._interruptible is not None:
            self._interruptible.cancel()

    def check(self) -> Deferred[Any]:
        """
        Check that Redis still answers and is still a primary; otherwise abort the session.

        Fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown}.
        """
        session = self._session
        if session is None:
            return fail(NotConnected("Redis is not connected"))
        if not self._tells_role:
            return session.call("PING")
        return Deferred.fromCoroutine(self._check_role(session))

    async def _check_role(self, session: Session) -> None:
        if problem := await self._judge(session, await session.call("ROLE")):
            session.abort(problem)

    async def _judge(self, session: Session, role: Any) -> str:
        return no_primary(session, role) or await self.find_problem(session, role)

    def _complain(self, reply: str) -> None:
        if self.ready:
            self._trouble.error_reply(reply)

    async def _run(self) -> None:
        attempt = 0
        while True:
            before, self._hurried = self.connects, False
            problem, told = await self._stay_connected()
            if not self.running:
                return  # a waiter of the session stopped this service
            if self._hurried:
                attempt = 0
                continue
            self._trouble.no_session(problem, told)
            attempt = attempt + 1 if self.connects == before else 1
            await self._unless_hurried(deferLater(self.clock, backoff(attempt, self.retry_period, self.jitter)))

    async def _unless_hurried(self, waiting: Deferred[Any]) -> Any:
        """Wait, and return the result; return C{None} if L{look_again} is called meanwhile."""
        self._interruptible = waiting
        try:
            return await waiting
        except CancelledError:
            if self._hurried and self.running:
                return None
            raise
        finally:
            self._interruptible = None

    async def _stay_connected(self) -> tuple[str, str]:
        """Open a session, wait until it ends, and return why it ended: with the text of Redis, and without."""
        connecting = connect(self.endpoint, _SessionFactory(self.clock, self._complain))
        try:
            session = await self._unless_hurried(connecting.addTimeout(CONNECT_TIMEOUT, self.clock))
        except CancelledError:
            raise
        except Exception as error:
            return self.explain(describe_error(error)), self.explain(tell_error(error))
        if session is None:
            return "", ""
        return await self._use(session)

    async def _use(self, session: Session) -> tuple[str, str]:
        self._opened, before = session, self.connects
        try:
            await self._get_ready(session)
            self._begin(session)
            await session.when_lost()
        except Exception as error:
            session.abort(describe_error(error), tell_error(error))
            await session.when_lost()
            if isinstance(error, CancelledError):
                raise
        finally:
            self._opened = None
        if self.connects == before:
            return self.explain(session.reason), self.explain(session.told)
        return session.reason, session.told

    def explain(self, problem: str) -> str:
        """Return why an attempt failed; a subclass may add what it knows."""
        return problem

    async def _get_ready(self, session: Session) -> None:
        why = f"no handshake within {HANDSHAKE_TIMEOUT:g} s"
        late = self.clock.callLater(HANDSHAKE_TIMEOUT, session.abort, why)
        try:
            await self._handshake(session)
            await self.prepare(session)
        finally:
            if late.active():
                late.cancel()

    async def _handshake(self, session: Session) -> None:
        if words := credentials(self.username, self.password):
            await session.call("AUTH", *words)
        if self.database:
            await session.call("SELECT", self.database)
        await ask(session, "PING")  # a server that loads its data says so
        known = await ask(session, "COMMAND", "INFO", "XAUTOCLAIM")
        if known is not None and not any(known):
            raise NotConnected("Redis 6.2 or newer is needed: this one has no XAUTOCLAIM")
        role = await ask(session, "ROLE")
        self._tells_role = role is not None
        if problem := await self._judge(session, role):
            raise NotConnected(problem)
        self._warn_of_loss(await ask(session, "INFO"))

    def _warn_of_loss(self, info: bytes | None) -> None:
        """Warn if the settings of the server, as far as it reports them, may lose confirmed events."""
        facts = parse_info(info or b"")
        policy = facts.get(b"maxmemory_policy", b"noeviction").decode()
        if facts.get(b"maxmemory", b"0") != b"0" and policy != "noeviction":
            self._log.warn(
                "Redis drops data when its memory is full: acknowledged events may be lost. "
                "Set its maxmemory-policy to noeviction; it is {policy}",
                policy=policy,
            )
        if self.lasting and facts.get(b"aof_enabled") == b"0":
            self._log.warn(
                "Redis keeps no append-only file: acknowledged events are lost when it crashes or restarts. "
                "Set its appendonly to yes: `CONFIG SET appendonly yes` now, and the same in its configuration file"
            )

    def _begin(self, session: Session) -> None:
        self._trouble.connected()
        self.connects += 1
        self._session = session
        while self._waiting and self.ready:
            self._waiting.pop(0).callback(None)
