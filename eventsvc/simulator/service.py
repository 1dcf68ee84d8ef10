"""
Traffic in an open model: events arrive at their own rate, however slow the
producer is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
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
from eventsvc.outcome import Outcome, PostedBatch
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.traffic import Events, arrivals

#: Seconds between two progress messages.
PROGRESS: Final = 5.0
#: The most requests in flight; further arrivals are counted and dropped.
MOST_IN_FLIGHT: Final = 256
#: Number of overdue events after which the reactor gets a turn.
_MOST_AT_ONCE: Final = 100
#: The most reasons that are told apart.
_REASONS: Final = 20


@attrs.define
class Tally:
    """The outcomes of the events so far."""

    sent: int = 0
    outcomes: dict[Outcome, int] = attrs.field(factory=lambda: dict.fromkeys(Outcome, 0))
    #: events whose request was not made, because too many were in flight
    dropped: int = 0
    #: why events were not stored: a number for each reason
    reasons: Counter[str] = attrs.field(factory=Counter)

    def numbers(self) -> dict[str, int]:
        """Return the counts by the names they have in the log."""
        outcomes = {outcome.value: count for outcome, count in self.outcomes.items()}
        return {"sent": self.sent, **outcomes, "dropped": self.dropped}

    def explain(self, why: str, events: int) -> None:
        """Count a reason; when there are many, the new ones are one."""
        known = why in self.reasons or len(self.reasons) < _REASONS
        self.reasons[why if known else "other reasons"] += events


@attrs.define(eq=False, slots=False)
class Simulator(Service):
    """
    Posts events at their times and counts the outcomes.

    @ivar post: posts events together and returns the result.
    @ivar events: makes the events.
    @ivar rate: mean events per second.
    @ivar pattern: how the requests are spread over time: see L{arrivals}.
    @ivar batch: number of events in each request.
    @ivar duration: seconds after which no event is posted; C{None} for no limit.
    @ivar count: number of events to post; C{None} for no limit.
    @ivar done: called once the last event has been answered, if there is a
        limit.
    @ivar begin: what to wait for before the first arrival.
    @ivar settle: what to wait for before C{done}.
    @ivar finish: what to wait for before C{concluded}, for seconds at most.
    @ivar observers: called with each attempt.
    @ivar describe: returns more for the progress messages: words, and details by name.
    @ivar concluded: called once it has stopped, and no request is in flight.
    @ivar began: when the first arrival could be; C{None} before.
    @ivar ended: when the last arrival was; C{None} before.
    """

    post: Callable[[Sequence[Event]], Awaitable[PostedBatch]]
    clock: IReactorTime
    random: Random
    rate: float
    events: Events = attrs.field(factory=Events)
    pattern: str = "POISSON"
    batch: int = 1
    duration: float | None = None
    count: int | None = None
    done: Callable[[], None] = lambda: None
    begin: Callable[[], Awaitable[None]] | None = None
    settle: Callable[[], Awaitable[None]] | None = None
    finish: Callable[[], Awaitable[None]] | None = None
    observers: list[Callable[[Attempt], None]] = attrs.field(factory=list)
    describe: Callable[[], tuple[str, dict[str, object]]] = lambda: ("", {})
    concluded: Callable[[], None] = lambda: None
    tally: Tally = attrs.field(factory=Tally, init=False)
    in_flight: int = attrs.field(default=0, init=False)
    began: float | None = attrs.field(default=None, init=False)
    ended: float | None = attrs.field(default=None, init=False)
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
            return Deferred.fromCoroutine(self._conclude())
        return succeed(None)

    async def _conclude(self) -> None:
        await self._all_landed()
        if self.finish is not None:
            await self.finish()
        self._report("summary")
        self.concluded()

    async def _run(self) -> None:
        if self.begin is not None:
            await self.begin()
        self.began = self.clock.seconds()
        try:
            await self._post_all(self.began)
        finally:
            self.ended = self.clock.seconds()
        await self._all_landed()
        if self.settle is not None:
            await self.settle()
        self.done()

    async def _post_all(self, start: float) -> None:
        end = math.inf if self.duration is None else start + self.duration
        number = unyielding = 0
        for arrival in arrivals(self.rate / self.batch, self.random, self.pattern):
            now = self.clock.seconds()
            due = min(start + arrival, end)
            unyielding += self.batch
            if due > now or unyielding >= _MOST_AT_ONCE:
                await deferLater(self.clock, max(0.0, due - now))
                unyielding = 0
            if max(due, now) >= end:
                break
            size = self.batch if self.count is None else min(self.batch, self.count - number)
            self._send(number + 1, size, due)
            number += size
            if number == self.count:
                break

    def _send(self, first: int, size: int, due: float) -> None:
        events = self.events.make_batch(first, size, self.random)
        now = self.clock.seconds()
        if self.in_flight >= MOST_IN_FLIGHT:
            self.tally.dropped += size
            self._tell(Attempt(due, now, now, None, size))
            return
        self.tally.sent += size
        self.in_flight += 1
        run_in_background(self._count(events, due, now), self._log)

    async def _count(self, events: Sequence[Event], due: float, sent: float) -> None:
        try:
            posted = await self.post(events)
            self.tally.outcomes[posted.outcome] += len(events)
            if posted.outcome is not Outcome.OK:
                self.tally.explain(posted.why, len(events))
            self._tell(Attempt(due, sent, self.clock.seconds(), posted.outcome, len(events), posted.ids))
        finally:
            self.in_flight -= 1
            if self._landed is not None and not self.in_flight:
                landed, self._landed = self._landed, None
                landed.callback(None)

    def _tell(self, attempt: Attempt) -> None:
        for observe in self.observers:
            observe(attempt)

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
        more, details = self.describe()
        self._log.info(
            "{what}: {words}, {in_flight} in flight{more}",
            what=what,
            words=words,
            in_flight=self.in_flight,
            more=more,
            details={**tally, **details},
        )
