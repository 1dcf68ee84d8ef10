"""
The reader loop: connect, take up pending entries, then read, handle and
acknowledge until stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.consumer.acknowledgements import Acknowledgements
from eventsvc.consumer.chore import Chore
from eventsvc.consumer.counts import reason_of
from eventsvc.consumer.delivery import Pace
from eventsvc.consumer.handler_lifecycle import HandlerLifecycle
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.page import PageSize
from eventsvc.consumer.recovery import Recovery
from eventsvc.event import Entry
from eventsvc.interfaces import IEventGroup, Refused, Unknown
from eventsvc.net.background import run_in_background

#: Seconds a read waits for new entries while others are in flight, and while all of those fail: so long the
#: acknowledgement of those may be held up.
_SHORT_BLOCK: Final = 0.1
_LONG_BLOCK: Final = 0.5
#: Seconds after a round that failed, first and longest.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
#: Seconds one attempt to hand over may take at the end.
_FAREWELL: Final = 2.0


@attrs.define(eq=False, slots=False)
class Consumer(Service):
    """
    Gives each event of a group to a handler, and acknowledges it afterwards.

    Each round acknowledges what is done, does the chores that are due, and takes
    a page of entries in flight, unless it has all it may have: first its own
    pending ones, then all idle ones, then by turns idle and new ones.

    @ivar block: longest wait for new events, in seconds.
    @ivar claim_idle: idle seconds after which an entry of another consumer is
        claimed; entries in flight are renewed well before that.
    @ivar leave: called at the end, to leave the group.
    @ivar chores: done between two rounds, in addition to the consumer's own.
    """

    group: IEventGroup
    in_flight: InFlight
    clock: IReactorTime
    block: float = 5.0
    claim_idle: float = 30.0
    drain_timeout: float = 10.0
    leave: Callable[[], Awaitable[None]] | None = None
    chores: list[Chore] = attrs.field(factory=list)
    #: how often the group had to be created although it had been there
    groups_recreated: int = attrs.field(default=0, init=False)
    #: rounds and chores that Redis refused or did not answer, by reason
    refused: Counter[str] = attrs.field(factory=Counter, init=False)
    #: why the last round failed; empty if it did not
    problem: str = attrs.field(default="No round has succeeded yet", init=False)
    #: clock time of the last round, for those who watch over the loop
    last_round: float = attrs.field(default=0.0, init=False)
    acknowledgements: Acknowledgements = attrs.field(init=False)
    recovery: Recovery = attrs.field(init=False)
    _pace: Pace = attrs.field(init=False)
    _page: PageSize = attrs.field(factory=PageSize, init=False)
    _lifecycle: HandlerLifecycle = attrs.field(init=False)
    _opened: bool = attrs.field(default=False, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _busy_since: float = attrs.field(default=0.0, init=False)
    _handled_before: int = attrs.field(default=0, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._pace = Pace(self.claim_idle / 2, self.in_flight.concurrency)
        self._lifecycle = HandlerLifecycle(self.in_flight.handler, self.in_flight.exit, self.clock)
        self.acknowledgements = Acknowledgements(self.group, self.in_flight)
        self.recovery = Recovery(self.group, self.in_flight, self.acknowledgements, self.clock, self.claim_idle)
        self.chores = [*self.chores, *self.recovery.chores]

    def startService(self) -> None:
        """Start to read; raise C{RuntimeError} if it was started before."""
        if self._running is not None:
            raise RuntimeError("a consumer is started once: make a new one to start again")
        super().startService()
        self.last_round = self.clock.seconds()
        self.in_flight.acknowledge_early = self._acknowledge_early
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        """Stop reading, let the running handlers finish, and hand over the rest."""
        super().stopService()
        return ensureDeferred(self._leave())

    async def _run(self) -> None:
        if not await self._lifecycle.start():
            return
        pause, handled = _FIRST_PAUSE, 0
        while True:
            try:
                await self._consume()
            except CancelledError:
                raise
            except (Refused, Unknown) as error:
                self._note_failure(error)
            except Exception as error:
                self._note_failure(error)
                self._log.failure("the reader loop failed unexpectedly, and starts again")
            self.last_round = self.clock.seconds()
            if self.in_flight.counts.handled > handled:
                pause, handled = _FIRST_PAUSE, self.in_flight.counts.handled
            await deferLater(self.clock, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _note_failure(self, error: Exception) -> None:
        """Count and log why a round failed, and ask for less if it may have been too much."""
        reason = reason_of(error)
        self.refused[reason] += 1
        if isinstance(error, Unknown):
            self._page.failed()
        problem = f"The last round failed: {reason}"
        if problem != self.problem and not self._draining:
            self._log.warn("reading from Redis failed, retrying: {error}", error=error)
        self.problem = problem

    async def _consume(self) -> None:
        """Do rounds until one fails."""
        await self._open()
        await self.recovery.begin()
        while True:
            self.last_round = self.clock.seconds()
            self.acknowledgements.send()
            await self._do_chores()
            room = self._room()
            if self._draining or room <= 0:
                self.problem = ""
                await self._settle()
            elif self.recovery.has_own:
                await self._take(self.recovery.take_up_own(room, self._page.limit))
            else:
                if not self.recovery.claim_in:
                    await self._take(self.recovery.claim(room, self._page.limit))
                if self.recovery.has_searched:  # what was handed over is older than what is new
                    await self._read()
                self.problem = ""

    def _acknowledge_early(self) -> None:
        """Acknowledge what is done between two slices; the next round reports a failure."""
        with suppress(Refused, Unknown):
            self.acknowledgements.send()

    async def _open(self) -> None:
        self.in_flight.doubt()
        created = await self.group.open()
        if created and self._opened:
            self.groups_recreated += 1
            self.in_flight.recent.clear()
            self._log.critical(
                "the consumer group was missing, and is created at 0: events may be lost, others are repeated",
                details={"alarm": "group_recreated"},
            )
        self._opened = True

    def _due_chores(self) -> Sequence[Chore]:
        now, handled = self.clock.seconds(), self.in_flight.counts.handled
        return [chore for chore in self.chores if chore.is_due(now, handled)]

    async def _do_chores(self) -> None:
        """Do the chores that are due.  A refused chore does not stop the round."""
        for chore in self._due_chores():
            try:
                await chore.work()
                chore.problem = ""
            except Refused as error:
                self.refused[reason_of(error)] += 1
                if chore.problem != f"{error}":
                    chore.problem = f"{error}"
                    self._log.warn("Redis refused a maintenance task, retrying: {error}", error=error)
            finally:
                chore.end(self.clock.seconds(), self.in_flight.counts.handled)

    def _room(self) -> int:
        """Return how many more entries may be taken in flight."""
        if self._page.is_filled_by(self.in_flight.entries):
            return 0
        return self._pace.size - self.in_flight.load

    async def _settle(self) -> None:
        """Wait until an entry in flight is done, or a chore is due."""
        wait = min(chore.due for chore in self.chores) - self.clock.seconds()
        with suppress(TimeoutError):
            await self.in_flight.when_changed().addTimeout(max(0.001, wait), self.clock)

    async def _take(self, asking: Awaitable[Sequence[Entry]]) -> None:
        """Take up or claim a page."""
        if await self._arrive(asking):
            self.problem = ""

    async def _arrive(self, asking: Awaitable[Sequence[Entry]]) -> Sequence[Entry]:
        """Wait for a page, and adapt the size of the next ones to it and to the pace of handling."""
        self._observe_pace()
        idle = not self.in_flight.entries
        page = await asking
        if idle:
            self._busy_since = self.clock.seconds()
        self._page.arrived(page)
        return page

    async def _read(self) -> None:
        """
        Read new entries and take them in flight.

        # Note [Reading ahead]

        While a batch is handled, Redis looks up the next::

            us:     handle 1 | XACK 1  handle 2 | XACK 2  handle 3
            Redis:    read 2 |           read 3 |

        It reads ahead only for the quickest handlers, so that entries do not
        wait long; only if the last read returned as many entries as it asked
        for, so that the next does not block and delay the acknowledgements
        behind it; and only until a chore is due.
        """
        most = self._pace.most // 2
        room = min(self._room(), most)
        if room <= 0:
            return
        self.acknowledgements.send()  # see the Note [Done before a read]
        entries = await self._arrive(self.group.read(self._page.count(room), self._block()))
        if not entries:
            self.recovery.take_new(entries)
            if self.in_flight.is_busy:
                await self._settle()
        while entries:
            may_be_more = len(entries) == self._page.count(most) and self._room() >= 2 * len(entries)
            ahead = self.group.read(len(entries), 0.0) if may_be_more and not self._due_chores() else None
            self.recovery.take_new(entries)
            if ahead is None:
                return
            self.acknowledgements.send()
            entries = await self._arrive(ahead)

    def _block(self) -> float:
        """
        Return how many seconds a read may wait for new entries.

        It waits briefly while entries are in flight, because their acknowledgements wait behind the read,
        and not at all after a failed round, until a read succeeds, or while the handler is busy.
        If only another entry helps, it waits although the handler is busy.
        """
        needs_another = self.in_flight.needs_another
        if self.problem or (self.in_flight.is_busy and not needs_another):
            return 0.0
        longest = _LONG_BLOCK if needs_another else _SHORT_BLOCK if self.in_flight.entries else self.block
        return min(longest, self.recovery.claim_in)

    def _observe_pace(self) -> None:
        """Measure how long handling took since the last page."""
        now, handled = self.clock.seconds(), self.in_flight.counts.handled
        if handled > self._handled_before:
            self._pace.observe(handled - self._handled_before, now - self._busy_since)
        self._busy_since, self._handled_before = now, handled

    async def _leave(self) -> None:
        """Finish what is in flight until the drain timeout, and hand over the rest."""
        self._draining = self._lifecycle.is_stopping = True
        finishing = ensureDeferred(self.in_flight.finish())
        self.group.interrupt()
        try:
            await finishing.addTimeout(self.drain_timeout, self.clock)
        except TimeoutError:
            count = len(self.in_flight.entries)
            self._log.warn("drain timed out: {count} unfinished events are handed over to other consumers", count=count)
            self.in_flight.cancel()
        if self._running is not None:
            self._running.cancel()
        try:
            await ensureDeferred(self.recovery.hand_over(self.leave)).addTimeout(_FAREWELL, self.clock)
        except (Refused, Unknown) as error:
            self._log.warn("cannot hand over pending events, others claim them later: {error}", error=error)
        except TimeoutError:
            self._log.warn("cannot hand over pending events within {seconds:g} s", seconds=_FAREWELL)
        await self._lifecycle.stop(_FAREWELL)
