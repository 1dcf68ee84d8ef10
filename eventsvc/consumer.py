"""
The reader loop: connect, take up what was left, then read, handle and
acknowledge for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc.background import run_in_background
from eventsvc.delivery import Entry, Pace
from eventsvc.in_hand import InHand
from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Seconds a read waits for new entries while others are in hand: so long the
#: acknowledgement of those may be held up.
_SHORT_BLOCK: Final = 0.1
#: Seconds after a round that failed, first and longest.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
#: Seconds one attempt to hand over may take at the end.
_FAREWELL: Final = 2.0
#: Ids in one call.
_PAGE: Final = 1_000


@attrs.define(eq=False)
class Chore:
    """
    Something done now and then between two reads.

    @ivar every: seconds from its end to its next start.
    """

    every: float
    work: Callable[[], Awaitable[object]]
    due: float = 0.0


@attrs.define(eq=False, slots=False)
class Consumer(Service):
    """
    Gives each event of a group to a handler, and acknowledges it after.

    # Note [Unconfirmed acknowledgement]

    An acknowledgement travels in one write with the next read, and nobody
    waits for its reply.  When the connection is lost in between, the entry may
    still be pending, and would be handled again after the reconnection:

        us:     handled 5,  XACK 5 ->           read own pending -> 5 again
        link:                        cut here

    So ids stay in C{_unconfirmed} until the reply has come.  They are sent
    again first thing on a new connection, before own pending entries are read.

    @ivar block: longest wait for new events, in seconds.
    @ivar claim_idle: seconds after which an entry that nobody touches is
        claimed; entries in hand are renewed well before.
    @ivar chores: done between two reads, beside those of the consumer itself.
    """

    group: IEventGroup
    in_hand: InHand
    clock: IReactorTime
    block: float = 5.0
    claim_idle: float = 30.0
    drain_timeout: float = 10.0
    chores: list[Chore] = attrs.field(factory=list)
    #: how often the group had to be created although it had been there
    groups_recreated: int = attrs.field(default=0, init=False)
    claimed: int = attrs.field(default=0, init=False)
    trimmed_while_pending: int = attrs.field(default=0, init=False)
    #: clock time of the last round, for those who watch over the loop
    last_round: float = attrs.field(default=0.0, init=False)
    _pace: Pace = attrs.field(init=False)
    _unconfirmed: set[str] = attrs.field(factory=set, init=False)
    _opened: bool = attrs.field(default=False, init=False)
    _busy_since: float = attrs.field(default=0.0, init=False)
    _handled_before: int = attrs.field(default=0, init=False)
    _cursor: str = attrs.field(default="0-0", init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    @_pace.default
    def _make_pace(self) -> Pace:
        return Pace(self.claim_idle / 2, self.in_hand.concurrency)

    def startService(self) -> None:
        super().startService()
        self.last_round = self.clock.seconds()
        self.chores += [
            Chore(self.claim_idle / 3, self._renew),
            Chore(self.claim_idle / 2, self._claim),
            Chore(60.0, self._remove_stale),
        ]
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        """Read no more, let the handlers in hand finish, hand over the rest."""
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        return ensureDeferred(self._leave())

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            rounds = self.in_hand.counts.handled
            try:
                await self._consume()
            except CancelledError:
                raise
            except (Refused, Unknown) as error:
                self._log.warn("starting again: {error}", error=error)
            except Exception:
                self._log.failure("the reader loop failed in an unexpected way")
            self.last_round = self.clock.seconds()
            await deferLater(self.clock, pause)
            pause = _FIRST_PAUSE if self.in_hand.counts.handled > rounds else min(pause * 2, _LONGEST_PAUSE)

    async def _consume(self) -> None:
        """What is done on one connection."""
        await self._open()
        await self._take_up_own()
        while True:
            self.last_round = self.clock.seconds()
            self._acknowledge()
            for chore in self._due_chores():
                try:
                    await chore.work()
                finally:  # one that is always refused must not keep events from being read
                    chore.due = self.clock.seconds() + chore.every
            await self._read()

    def _due_chores(self) -> Sequence[Chore]:
        now = self.clock.seconds()
        return [chore for chore in self.chores if chore.due <= now]

    async def _open(self) -> None:
        created = await self.group.open()
        if created and self._opened:
            self.groups_recreated += 1
            self._unconfirmed.clear()
            self._log.critical(
                "the group was gone and is created anew at 0: events may be lost, others come again",
                details={"alarm": "group_recreated"},
            )
        self._opened = True

    async def _take_up_own(self) -> None:
        """
        Handle the entries that were read before and not acknowledged.

        Without it, those of a lost reply would wait for ever: a read of new
        entries passes over them.
        """
        self._unconfirmed.update(self.in_hand.take_done())
        if self._unconfirmed:
            await self.group.acknowledge(sorted(self._unconfirmed))
            self._unconfirmed.clear()
        after = ""
        while entries := await self.group.read_pending(after, self._pace.size):
            self._take_again(entries)
            after = entries[-1].id
            while self._room() <= 0:
                await self._settle()

    def _take_again(self, entries: Sequence[Entry]) -> None:
        """Take entries that were read before, but not those done with meanwhile."""
        known = self._unconfirmed.union(self.in_hand.done)
        self.in_hand.take(entry for entry in entries if entry.id not in known)

    def _room(self) -> int:
        return self._pace.size - len(self.in_hand.entries)

    async def _settle(self) -> None:
        """Wait until something in hand is done with, and see to the rest meanwhile."""
        self.last_round = self.clock.seconds()
        changed = self.in_hand.when_changed()
        try:
            await changed.addTimeout(self.claim_idle / 3, self.clock)
        except TimeoutError:
            await self._renew()
        self._acknowledge()

    async def _read(self) -> None:
        """
        Read new entries and take them in hand.

        # Note [Reading ahead]

        While a batch is handled, Redis looks up the next:

            us:     handle 1 | XACK 1  handle 2 | XACK 2  handle 3
            Redis:    read 2 |           read 3 |

        Only for the quickest of handlers, so that what is read ahead does not
        lie about; only when the last read found as much as it asked for: the
        next does not block then, which would hold up the acknowledgements
        behind it; and only until a chore is due.
        """
        room = min(self._room(), self._pace.most // 2)
        if room <= 0:
            await self._settle()
            return
        self._observe_pace()
        idle = not self.in_hand.entries
        block = min(self.block, self.claim_idle / 2 if idle else _SHORT_BLOCK)
        entries = await self.group.read(room, block)
        if idle:
            self._busy_since = self.clock.seconds()
        while entries:
            may_be_more = len(entries) == self._pace.most // 2 and self._room() >= 2 * len(entries)
            ahead = self.group.read(len(entries), 0.0) if may_be_more and not self._due_chores() else None
            self.in_hand.take(entries)
            if ahead is None:
                return
            self._acknowledge()
            entries = await ahead
            self._observe_pace()

    def _observe_pace(self) -> None:
        """Learn how long it took to handle what was handled since the last read."""
        now, handled = self.clock.seconds(), self.in_hand.counts.handled
        if handled > self._handled_before:
            self._pace.observe(handled - self._handled_before, now - self._busy_since)
        self._busy_since, self._handled_before = now, handled

    def _acknowledge(self) -> None:
        """Acknowledge what is done; see L{Note [Unconfirmed acknowledgement]}."""
        done = self.in_hand.take_done()
        if not done:
            return
        self._unconfirmed.update(done)

        def confirmed(_: None) -> None:
            self._unconfirmed.difference_update(done)

        def again(failure: Failure) -> None:
            failure.trap(Refused, Unknown)
            self.in_hand.done.extend(done)

        self.group.acknowledge(done).addCallbacks(confirmed, again)

    async def _renew(self) -> None:
        """Keep others from claiming what is in hand here."""
        ids = list(self.in_hand.entries)
        for start in range(0, len(ids), _PAGE):
            others = await self.group.renew(ids[start : start + _PAGE])
            if others:
                self._log.warn("{count} entries in hand were claimed by another consumer", count=len(others))

    async def _claim(self) -> None:
        """Take over what other consumers have left, a page at a time."""
        while (room := self._room()) > 0:
            page = await self.group.claim(self.claim_idle, self._cursor, room)
            self._cursor = page.cursor
            self.claimed += len(page.entries)
            if page.trimmed:
                self.trimmed_while_pending += len(page.trimmed)
                self._log.critical(
                    "{count} pending events were trimmed: they are lost",
                    count=len(page.trimmed),
                    details={"alarm": "trimmed_pending"},
                )
            self._take_again(page.entries)
            if page.cursor == "0-0":
                return

    async def _remove_stale(self) -> None:
        """Remove consumers that left nothing behind and will not come back."""
        removed = await self.group.remove_stale(max(3600.0, 10 * self.claim_idle))
        if removed:
            self._log.info("removed stale consumers: {names}", names=", ".join(removed))

    async def _leave(self) -> None:
        """
        Finish what is in hand, within bounds, and hand over the rest.

        The read under way is given up with its connection.  Its reply may
        carry entries: they are among the pending ones by then, and handed
        over with them.
        """
        self.group.interrupt()
        finishing = ensureDeferred(self.in_hand.finish())
        try:
            await finishing.addTimeout(self.drain_timeout, self.clock)
        except TimeoutError:
            self._log.warn("{count} events are not finished, and handed over", count=len(self.in_hand.entries))
            self.in_hand.cancel()
        try:
            await ensureDeferred(self._hand_over()).addTimeout(_FAREWELL, self.clock)
        except (Refused, Unknown) as error:
            self._log.warn("could not hand over: {error}", error=error)
        except TimeoutError:
            self._log.warn("could not hand over within {seconds:g} s", seconds=_FAREWELL)

    async def _hand_over(self) -> None:
        await self.group.open()
        done = sorted(self._unconfirmed.union(self.in_hand.take_done()))
        if done:
            await self.group.acknowledge(done)
        after = ""
        while entries := await self.group.read_pending(after, 100):
            await self.group.release([entry.id for entry in entries])
            after = entries[-1].id
