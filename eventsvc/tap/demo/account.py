"""
The account of a demo: what came in, what went out, and what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.dashboard import words
from eventsvc.errors import Refused, Unknown
from eventsvc.measures import Measures
from eventsvc.net.background import run_in_background
from eventsvc.producer.counts import ProducerCounts

#: Seconds between two looks at Redis.
_EVERY: Final = 0.5
#: Seconds for which the end waits for events that are on their way.
_PATIENCE: Final = 15.0
#: Seconds that one measurement may take.
_ANSWER: Final = 2.0
#: Entries in an empty stream: the marker of its creation.
_MARKER: Final = 1


@attrs.define(eq=False, slots=False)
class Account(Service):
    """
    Measures the stream while the demo runs, and waits at its end until all events are handled.

    It is of the one stream that the demo handles.

    @ivar measure: measures the stream and its group, with dead letters.
    @ivar most: entries from which the length of the stream does not tell how many were stored, because some may have
        been trimmed; 0 if there were some before.
    @ivar last: the last measures.
    """

    produced: ProducerCounts
    consumed: ConsumerCounts
    measure: Callable[[], Deferred[Measures]]
    clock: IReactorTime
    most: int
    last: Measures = attrs.field(factory=Measures, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _log = Logger()

    @property
    def accepted(self) -> int:
        return self.produced.accepted

    @property
    def is_settled(self) -> bool:
        """Whether Redis said that every event is handled."""
        return self.last.age == 0.0

    def startService(self) -> None:
        super().startService()
        self._look()

    def stopService(self) -> Deferred[None]:
        """Wait until no event is unread or pending."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return Deferred.fromCoroutine(self._settle())

    def _look(self) -> None:
        self._timer = self.clock.callLater(_EVERY, self._look)
        run_in_background(self._measure(), self._log)

    async def _measure(self) -> None:
        try:
            self.last = await self.measure().addTimeout(_ANSWER, self.clock)
        except Exception as error:  # Redis is away, or is slow
            if not isinstance(error, (Refused, Unknown)):
                self.last = attrs.evolve(self.last, unread_age=None)

    async def _settle(self) -> None:
        deadline = self.clock.seconds() + _PATIENCE
        self.last = Measures()
        while not self.is_settled and self.clock.seconds() < deadline:
            await self._measure()
            if not self.is_settled:
                await deferLater(self.clock, 0.05)

    def summary(self) -> str:
        """Return the account in words, once the demo has ended."""
        accepted, handled, dead = self.accepted, self.consumed.handled, self.last.dead or 0
        again = handled - accepted  # an acknowledgement was lost, or they waited in the directory with the data
        parts = [f"{accepted:,} in", f"{handled:,} out" + (f" ({again:,} again or from before)" if again > 0 else "")]
        if dead:
            parts.append(f"{dead:,} dead letter{'' if dead == 1 else 's'}")
        refused = sum(self.produced.refused.values())
        for number, name in ((refused, "refused"), (self.produced.unknown, "not confirmed")):
            if number:
                parts.append(f"{number:,} {name}")
        return ", ".join([*parts, self._say_lost()])

    def _say_lost(self) -> str:
        if not self.is_settled:
            return "not all handled when it ended"
        if self.last.length is None or self.last.length >= self.most:
            lost = self.produced.lost_events
        else:
            lost = max(0, self.accepted - (self.last.length - _MARKER))
        return f"{lost:,} lost"

    def describe_behind(self) -> str:
        """Return how long the oldest event waits, in words."""
        return words.duration(self.last.age)


class LastWords(Service):
    """
    Says where things are on standard error, and logs the account at the end: for logs that are no screen.

    @ivar account: C{None} until the roles are there.
    """

    account: Account | None = None
    _log = Logger()

    def show(self, account: Account, link: Callable[[], str]) -> None:
        """Tell of an account; of the link, the log says enough."""
        self.account = account

    def say(self, text: str) -> None:
        print(text, file=sys.__stderr__, flush=True)

    def stopService(self) -> None:
        super().stopService()
        if self.account is not None:
            account = self.account
            numbers = {"accepted": account.accepted, "handled": account.consumed.handled, "dead": account.last.dead}
            self._log.info("{summary}", summary=account.summary(), details=numbers)
