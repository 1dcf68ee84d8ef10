"""
Keeps a connection to Redis, and reconnects whenever it is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.net.background import run_in_background
from eventsvc.redis.describe_error import describe_error
from eventsvc.redis.endpoint import CONNECT_TIMEOUT
from eventsvc.redis.errors import ErrorReply as ErrorReply
from eventsvc.redis.errors import NotConnected, UnclearReply, code_of
from eventsvc.redis.session import Argument, Script
from eventsvc.redis.session import Session as Session
from eventsvc.redis.silence import REPLY_TIMEOUT

#: Seconds a handshake may take, from the TCP connection to the first use.
HANDSHAKE_TIMEOUT: Final = 2.0
#: Seconds for which an error reply of one kind is not logged again.
_SILENT: Final = 60.0


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


def backoff(attempt: int, longest: float, jitter: Callable[[], float]) -> float:
    """
    Return the seconds to wait before a connection attempt; the first is 1.

    The pause grows by a twentieth with each attempt, so that the end of an
    outage of t seconds is noticed within about t/20.

    @param jitter: a number from 0 to 1; the pause grows by up to a tenth with it.
    """
    pause = 0.05 * 1.05 ** min(attempt - 1, 1_000)
    return min(pause, longest / 1.1) * (1 + 0.1 * jitter())


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
    _problem: str = attrs.field(default="", init=False)
    _complaints: dict[str, float] = attrs.field(factory=dict, init=False)
    _tells_role: bool = attrs.field(default=True, init=False)
    _given_up: str | None = attrs.field(default=None, init=False)
    _log = Logger()

    @property
    def ready(self) -> bool:
        """Whether a command can be sent."""
        return self._session is not None and not self._session.reason

    @property
    def session(self) -> Session | None:
        """The present session; it may be ending."""
        return self._session

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
            self._problem = self._given_up = why
            self._session.abort(why)

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
        return _no_primary(session, role) or await self.find_problem(session, role)

    def _complain(self, reply: str) -> None:
        """Log an error reply, at most once a minute for each kind: every event may cause one."""
        now, code = self.clock.seconds(), code_of(reply)
        last = self._complaints.get(code)
        if self.ready and (last is None or now - last >= _SILENT):
            self._complaints[code] = now
            self._log.warn("Redis answered with an error: {reply}", reply=reply)

    async def _run(self) -> None:
        attempt = 0
        while True:
            before = self.connects
            problem = await self._stay_connected()
            if not self.running:
                return  # a waiter of the session stopped this service
            if problem != self._problem:
                self._problem = problem
                self._log.warn("no connection to Redis: {problem}", problem=problem)
            attempt = attempt + 1 if self.connects == before else 1
            await deferLater(self.clock, backoff(attempt, self.retry_period, self.jitter))

    async def _stay_connected(self) -> str:
        """Open a session, wait until it ends, and return why it ended."""
        connecting = self.endpoint.connect(_SessionFactory(self.clock, self._complain))
        try:
            session = cast(Session, await connecting.addTimeout(CONNECT_TIMEOUT, self.clock))
        except CancelledError:
            raise
        except Exception as error:
            return describe_error(error)
        try:
            await self._get_ready(session)
            self._begin(session)
            await session.when_lost()
        except Exception as error:
            session.abort(describe_error(error))
            await session.when_lost()
            if isinstance(error, CancelledError):
                raise
        return session.reason

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
        if self.username or self.password:
            user = [self.username] if self.username else []
            await session.call("AUTH", *user, self.password)
        if self.database:
            await session.call("SELECT", self.database)
        await _ask(session, "PING")  # a server that loads its data says so
        known = await _ask(session, "COMMAND", "INFO", "XAUTOCLAIM")
        if known is not None and not any(known):
            raise NotConnected("Redis 6.2 or newer is needed: this one has no XAUTOCLAIM")
        role = await _ask(session, "ROLE")
        self._tells_role = role is not None
        if problem := await self._judge(session, role):
            raise NotConnected(problem)
        self._warn_of_loss(await _ask(session, "INFO"))

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
        if self._problem != self._given_up:
            self._log.info("connected to Redis")
        self._problem, self._given_up = "", None
        self.connects += 1
        self._session = session
        while self._waiting and self.ready:
            self._waiting.pop(0).callback(None)


def _no_primary(session: Session, role: Any) -> str:
    """
    Return why a server accepts no events; empty if it does.

    @param role: the reply to C{ROLE}; C{None} if the user may not run it.
    """
    match role:
        case [b"slave", *_]:
            return f"Redis at {session.peer} is a read-only replica"
        case [b"sentinel", *_]:
            return f"{session.peer} is a Sentinel, not Redis"
        case _:
            return ""


async def _ask(session: Session, *arguments: Argument) -> Any:
    """
    Send an optional command and return its reply.

    Returns C{None} if the user may not run the command, or the server does not
    have it.
    """
    try:
        return await session.call(*arguments)
    except (ErrorReply, UnclearReply) as error:
        if session.reason or not error.reply.startswith(("NOPERM ", "ERR unknown ")):
            raise
        return None


def parse_info(reply: bytes) -> dict[bytes, bytes]:
    """Return the values in a reply to INFO, by name."""
    return dict(line.partition(b":")[::2] for line in reply.splitlines())
