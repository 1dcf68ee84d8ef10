"""
Follows what Sentinels announce, so that a change of the primary is noticed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.net.background import run_in_background
from eventsvc.redis.backoff import backoff
from eventsvc.redis.connection import Connection, Session
from eventsvc.redis.describe_error import describe_error
from eventsvc.redis.endpoint import connect
from eventsvc.redis.primary_choice import read_announcement
from eventsvc.redis.promotion import PATIENCE, Promotion
from eventsvc.redis.sentinels import NoPrimary, PrimaryEndpoint, Sentinels
from eventsvc.redis.subscription import PROMOTING, Subscription
from eventsvc.settings.addresses import Address

#: Seconds a connection to a Sentinel may take.
_CONNECT_TIMEOUT: Final = 2.0


class _SubscriptionFactory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Subscription]) -> None:
        self.make = make

    def buildProtocol(self, address: IAddress | None) -> Subscription:
        return self.make()


@attrs.define(eq=False, slots=False)
class SwitchFollower(Service):
    """
    Keeps a subscription at every Sentinel, from start to stop.

    # Note [One switch, three announcements]

    Sentinels announce the same switch at different times, and each would end the session that the
    first one led to::

        Sentinel 1: +promoted-slave b      -> look again: a session with b
        Sentinel 2: +switch-master a b     -> look again: another session with b
        Sentinel 3: +switch-master a b     -> and another

    So an announcement counts only if it names another address than the one in use.

    # Note [A primary that no Sentinel names yet]

    A Sentinel asks once a second what became of the replica that it promotes, so that for most of a
    second there is a primary, and all Sentinels name the one from before::

        Sentinel 1: +failover-state-wait-promotion b     -> ask b for its role until it is a primary
        b is a primary                                   -> a session with b
        Sentinels, asked:  a is the primary              -> not asked, or a planned failover goes back to a
        Sentinel 1: +promoted-slave b                    -> b is in use already

    The session with the primary from before is not left until b is a primary.  A failover that is
    undone takes what b has been given::

        Sentinel 1: +failover-state-wait-promotion b     -> a session with b, events answered 200
        Sentinel 1 dies; the others make b a replica of a
        Sentinels, asked after C{PATIENCE}: a            -> a session with a, which lacks these events

    That is a Redis that has forgotten: the producer stores them again.

    @ivar look_again: called with the reason if the primary is another one.
    """

    primary: PrimaryEndpoint
    promotion: Promotion
    jitter: Callable[[], float]
    retry_period: float
    look_again: Callable[[str], object]
    _running: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _checking: Deferred[None] | None = attrs.field(default=None, init=False)
    _check_again: bool = attrs.field(default=False, init=False)
    _promoting: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    @property
    def sentinels(self) -> Sentinels:
        return self.primary.sentinels

    def startService(self) -> None:
        super().startService()
        following = [self._follow(*each) for each in self.sentinels.endpoints.items()]
        self._running = [run_in_background(each, self._log) for each in following]

    def stopService(self) -> Deferred[Any]:
        """Close all subscriptions, and fire once they are closed."""
        super().stopService()
        running, self._running = self._running, []
        running += [each for each in (self._checking, self._promoting) if each is not None]
        for each in running:
            each.cancel()
        return gatherResults(running)

    async def _follow(self, sentinel: Address, endpoint: IStreamClientEndpoint) -> None:
        attempt, logged = 0, ""

        def opened() -> None:
            nonlocal attempt, logged
            attempt = 0
            if logged:
                self._log.info("Sentinel {sentinel} announces again", sentinel=sentinel)
                logged = ""
            self._check()

        while True:
            problem = await self._subscribe(sentinel, endpoint, opened)
            if problem != logged:
                self._log.warn(
                    "no announcements from Sentinel {sentinel}: {problem}", sentinel=sentinel, problem=problem
                )
                logged = problem
            attempt += 1
            await deferLater(self.sentinels.clock, backoff(attempt, self.retry_period, self.jitter))

    async def _subscribe(self, sentinel: Address, endpoint: IStreamClientEndpoint, opened: Callable[[], object]) -> str:
        """Subscribe, wait until the subscription ends, and return why."""

        def make() -> Subscription:
            return Subscription(
                self.sentinels.clock,
                self.sentinels.credentials(),
                lambda channel, text: self._announced(sentinel, channel, text),
                opened,
            )

        factory: Any = _SubscriptionFactory(make)
        try:
            connecting = connect(endpoint, factory).addTimeout(_CONNECT_TIMEOUT, self.sentinels.clock)
            subscription = cast(Subscription, await connecting)
        except CancelledError:
            raise
        except Exception as error:
            return describe_error(error)
        try:
            await subscription.when_lost()
        except CancelledError:
            subscription.abort("stopped")
            await subscription.when_lost()
            raise
        return subscription.reason

    def _announced(self, sentinel: Address, channel: bytes, text: bytes) -> None:
        address = read_announcement(channel, text, self.sentinels.service)
        if address is None or address == self.primary.target:
            return
        if self._promoting is not None:
            self._promoting.cancel()
        if channel == PROMOTING.encode():
            self._promoting = run_in_background(self._follow_promotion(f"Sentinel {sentinel}", address), self._log)
        else:
            self._switch(f"Sentinel {sentinel}", address)

    async def _follow_promotion(self, source: str, address: Address) -> None:
        if not await self.promotion.is_done(address) or address == self.primary.target:
            return
        try:
            self.primary.expected = address
            self._switch(source, address)
            await deferLater(self.sentinels.clock, PATIENCE)
        finally:
            self.primary.expected = None
        self._check()

    def _switch(self, source: str, primary: Address) -> None:
        service = self.sentinels.service
        self._log.info(
            "{source}: the primary of {service} is {primary}", source=source, service=service, primary=primary
        )
        self.look_again(f"the primary of {service} is {primary}")

    def _check(self) -> None:
        """Ask once, because a switch may have been announced while there was no subscription."""
        self._check_again = True
        if self._checking is None or self._checking.called:
            self._checking = run_in_background(self._compare_all(), self._log)

    async def _compare_all(self) -> None:
        while self._check_again:
            self._check_again = False
            await self._compare()

    async def _compare(self) -> None:
        try:
            best = (await self.sentinels.ask())[0].address
        except NoPrimary:
            return
        if self.primary.target not in (None, self.primary.expected, best):
            self._switch("Sentinels", best)


@attrs.define(eq=False, slots=False, kw_only=True)
class SentinelConnection(Connection):
    """
    A connection to the primary that Sentinels name.

    @ivar follower: makes it look again when the primary is another one; C{None} for none.
    """

    primary: PrimaryEndpoint
    follower: SwitchFollower | None = None

    def startService(self) -> None:
        super().startService()
        if self.follower is not None:
            self.follower.startService()

    def stopService(self) -> Deferred[Any]:
        """Stop following, and close the connection, as L{Connection.stopService}."""
        following = [self.follower.stopService()] if self.follower is not None else []
        return gatherResults([*following, super().stopService()])

    def explain(self, problem: str) -> str:
        """Add who has named the address that is of no use."""
        target, sentinels = self.primary.target, self.primary.sentinels
        if target is None:
            return problem
        return f"{problem}; {target} is the primary of {sentinels.service} according to its Sentinels {sentinels}"

    def _begin(self, session: Session) -> None:
        self.primary.works()
        super()._begin(session)
