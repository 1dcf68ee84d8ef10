"""
Traffic in an open model: events arrive at their own rate, however slow the
producer is.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.event import Event
from eventsvc.net.background import run_in_background
from eventsvc.outcome import Outcome
from eventsvc.simulator.traffic import Events, arrivals

#: Seconds between two progress messages.
PROGRESS: Final = 5.0
#: The most requests in flight; further arrivals are counted and dropped.
MOST_IN_FLIGHT: Final = 256
#: Number of overdue arrivals after which the reactor gets a turn.
_MOST_AT_ONCE: Final = 100


@attrs.define
class Tally:
    """The outcomes of the arrivals so far."""

    sent: int = 0
    outcomes: dict[Outcome, int] = attrs.field(factory=lambda: dict.fromkeys(Outcome, 0))
    #: arrivals that found too many requests in flight
    dropped: int = 0

    def numbers(self) -> dict[str, int]:
        """Return the counts by the names they have in the log."""
        outcomes = {outcome.value: count for outcome, count in self.outcomes.items()}
        return {"sent": self.sent, **outcomes, "dropped": self.dropped}


@attrs.define(eq=False, slots=False)
class Simulator(Service):
    """
    Posts events at random times and counts the outcomes.

    @ivar post: posts an event and returns the outcome.
    @ivar events: makes the events.
    @ivar rate: mean events per second.
    @ivar duration: seconds after which no event is posted; C{None} for no limit.
    @ivar count: number of events to post; C{None} for no limit.
    @ivar done: called once the last event has been answered, if there is a
        limit.
    """

    post: Callable[[Event], Awaitable[Outcome]]
    clock: IReactorTime
    random: Random
    rate: float
    events: Events = attrs.field(factory=Events)
    duration: float | None = None
    count: int | None = None
    done: Callable[[], None] = lambda: None
    tally: Tally = attrs.field(factory=Tally, init=False)
    in_flight: int = attrs.field(default=0, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _progress: IDelayedCall | None = attrs.field(default=None, init=False)
    _landed: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._running = run_in_background(self._run(), self._log)
        self._schedule_progress()

    def stopService(self) -> Deferred[None]:
        """Stop posting, and wait for the requests in flight."""
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        if self._progress is not None:
            self._progress.cancel()
            self._progress = None
            return self._all_landed().addCallback(lambda _: self._report("summary"))
        return succeed(None)

    async def _run(self) -> None:
        start = self.clock.seconds()
        end = math.inf if self.duration is None else start + self.duration
        for number, arrival in enumerate(arrivals(self.rate, self.random), 1):
            now = self.clock.seconds()
            due = min(start + arrival, end)
            if due > now or number % _MOST_AT_ONCE == 0:
                await deferLater(self.clock, max(0.0, due - now))
            if max(due, now) >= end:
                break
            self._send(self.events.make(number, self.random))
            if number == self.count:
                break
        await self._all_landed()
        self.done()

    def _send(self, event: Event) -> None:
        if self.in_flight >= MOST_IN_FLIGHT:
            self.tally.dropped += 1
            return
        self.tally.sent += 1
        self.in_flight += 1
        run_in_background(self._count(event), self._log)

    async def _count(self, event: Event) -> None:
        try:
            self.tally.outcomes[await self.post(event)] += 1
        finally:
            self.in_flight -= 1
            if self._landed is not None and not self.in_flight:
                landed, self._landed = self._landed, None
                landed.callback(None)

    def _all_landed(self) -> Deferred[None]:
        if not self.in_flight:
            return succeed(None)
        if self._landed is None:
            self._landed = Deferred()
        mine: Deferred[None] = Deferred()
        self._landed.addCallback(lambda _: None if mine.called else mine.callback(None))
        return mine

    def _schedule_progress(self) -> None:
        def tick() -> None:
            self._schedule_progress()
            self._report("progress")

        self._progress = self.clock.callLater(PROGRESS, tick)

    def _report(self, what: str) -> None:
        tally = self.tally.numbers()
        words = ", ".join(f"{count} {name}" for name, count in tally.items())
        self._log.info(
            "{what}: {words}, {in_flight} in flight", what=what, words=words, in_flight=self.in_flight, details=tally
        )
