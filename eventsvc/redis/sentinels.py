"""
Asks Sentinels for the primary, and connects to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from eventsvc.interfaces import Unknown
from eventsvc.redis.describe_error import describe_error
from eventsvc.redis.endpoint import MakeEndpoint, connect
from eventsvc.redis.errors import ErrorReply, NotConnected, UnclearReply
from eventsvc.redis.primary_choice import Candidate, Named, choose, rank, read_named
from eventsvc.redis.questions import credentials
from eventsvc.redis.session import Session
from eventsvc.settings.addresses import Address

#: Seconds one server has to answer, connection and TLS included.
ASK_TIMEOUT: Final = 0.6
#: Seconds that the rest may take once more than half of the Sentinels have named a primary.
_STRAGGLERS: Final = 0.1


class NoPrimary(NotConnected):
    """No Sentinel names a primary; the text says what each one answered."""


class _SessionFactory(Factory):
    noisy = False

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock

    def buildProtocol(self, address: IAddress | None) -> Session:
        return Session(self.clock)


@asynccontextmanager
async def brief_session(endpoint: IStreamClientEndpoint, clock: IReactorTime) -> AsyncIterator[Session]:
    """Connect, and disconnect at the end."""
    session = cast(Session, await connect(endpoint, _SessionFactory(clock)))
    try:
        yield session
    finally:
        session.abort("asked")
        await session.when_lost()


@attrs.define(eq=False)
class Sentinels:
    """
    The Sentinels that watch a service.

    @ivar service: the name under which they watch it.
    """

    endpoints: Mapping[Address, IStreamClientEndpoint]
    clock: IReactorTime
    service: str
    username: str = ""
    password: str = attrs.field(default="", repr=False)

    def __str__(self) -> str:
        return ", ".join(map(str, self.endpoints))

    def credentials(self) -> Sequence[str]:
        """Return the arguments of C{AUTH}; empty if there is nothing to give."""
        return credentials(self.username, self.password)

    async def ask(self) -> Sequence[Candidate]:
        """
        Ask all Sentinels at the same time, and return the addresses that they name, the best first.

        A Sentinel that does not answer is not waited for long once more than half have answered.

        @raise NoPrimary: none of them names a primary.
        """
        round = _Round(self.clock, len(self.endpoints))
        asking = [
            ensureDeferred(self._ask_one(endpoint))
            .addTimeout(ASK_TIMEOUT, self.clock)
            .addCallbacks(round.answered, round.failed, (sentinel,), errbackArgs=(sentinel,))
            for sentinel, endpoint in self.endpoints.items()
        ]
        try:
            await round.done
        finally:
            round.end()
            for each in asking:
                each.cancel()
        if round.named:
            return rank(round.named)
        problems = "; ".join([f"{sentinel}: {round.problems[sentinel]}" for sentinel in self.endpoints])
        raise NoPrimary(f"no Sentinel names a primary of {self.service}: {problems}")

    async def _ask_one(self, endpoint: IStreamClientEndpoint) -> Named | str:
        """Return what a Sentinel names, or why it names nothing."""
        async with brief_session(endpoint, self.clock) as session:
            try:
                if words := self.credentials():
                    await session.call("AUTH", *words)
                return await self._ask_session(session)
            except (ErrorReply, UnclearReply) as error:
                return describe_reply(error.reply)
            except Unknown:
                return session.told.removeprefix("Redis ")

    async def _ask_session(self, session: Session) -> Named | str:
        """
        Ask for the epoch, then for the address.

        In this order an address never gets the epoch of a failover that happened in between and
        that it has nothing to do with.
        """
        asking = [
            session.call("SENTINEL", "MASTER", self.service),
            session.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service),
        ]
        (has_facts, facts), (has_address, address) = cast(Any, await DeferredList(asking, consumeErrors=True))
        if not has_address:
            # The first error of both ends the connection, so that the second one says less.
            is_missing_right = has_facts or getattr(facts.value, "code", "") == "NOPERM"
            raise address.value if is_missing_right else facts.value
        try:
            return read_named(address, facts) or f"does not know {self.service}"
        except ValueError:
            return "gives no address"


@attrs.define(eq=False)
class _Round:
    """
    Collects the answers of all Sentinels to one question.

    @ivar done: fires when there are enough.
    """

    clock: IReactorTime
    most: int
    named: list[Named] = attrs.field(factory=list)
    problems: dict[Address, str] = attrs.field(factory=dict)
    done: Deferred[None] = attrs.field(factory=Deferred)
    _late: Any = None

    def answered(self, answer: Named | str, sentinel: Address) -> None:
        if isinstance(answer, str):
            self.problems[sentinel] = answer
        else:
            self.named.append(answer)
        if len(self.named) + len(self.problems) == self.most:
            self._finish()
        elif len(self.named) > self.most // 2 and self._late is None:
            self._late = self.clock.callLater(_STRAGGLERS, self._finish)

    def failed(self, failure: Any, sentinel: Address) -> None:
        if failure.check(TimeoutError):
            self.answered(f"no answer within {ASK_TIMEOUT:g} s", sentinel)
        elif not failure.check(CancelledError):
            self.answered(describe_error(failure), sentinel)

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(None)

    def end(self) -> None:
        """Stop waiting."""
        if self._late is not None and self._late.active():
            self._late.cancel()


def describe_reply(reply: str) -> str:
    """Return what an error reply of a Sentinel means, without its text."""
    match reply.split(" "):
        case ["NOAUTH", *_]:
            return "needs a password (REDIS_SENTINEL_PASSWORD)"
        case ["WRONGPASS", *_] | ["ERR", "AUTH" | "invalid", *_]:
            return "wrong user name or password"
        case ["NOPERM", *_]:
            return "the user lacks a right"
        case ["ERR", "unknown" | "Unknown", *_]:
            return "is no Sentinel"
        case _:
            return "answered with an error"


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class PrimaryEndpoint:
    """
    Connects to the address that the Sentinels name.

    Whether that is a primary must be checked on the connection itself.  After an attempt of no use
    the next one tries another address, if Sentinels disagree; see L{choose}.

    @ivar target: the address of the latest attempt; C{None} while the Sentinels are asked.
    @ivar expected: a primary that the Sentinels do not name yet: it is tried, and they are not asked.
    """

    sentinels: Sentinels
    make_endpoint: MakeEndpoint
    clock: IReactorTime
    target: Address | None = attrs.field(default=None, init=False)
    expected: Address | None = attrs.field(default=None, init=False)
    _failing: dict[Address, float] = attrs.field(factory=dict, init=False)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Ask, then connect; fails with L{NoPrimary} or the error of the connection."""
        return ensureDeferred(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> Any:
        self.target = None
        self.target = self.expected or self._choose(await self.sentinels.ask())
        return await connect(self.make_endpoint(self.target), factory)

    def _choose(self, candidates: Sequence[Candidate]) -> Address:
        now = self.clock.seconds()
        chosen = choose(candidates, {address: now - since for address, since in self._failing.items()})
        if chosen is None:
            self._failing.clear()
            chosen = candidates[0]
        self._failing.setdefault(chosen.address, now)
        return chosen.address

    def works(self) -> None:
        """Record that the latest connection is to a primary, and in use."""
        self._failing.clear()
