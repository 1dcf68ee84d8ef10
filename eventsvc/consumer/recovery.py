"""
Takes up pending entries, of this consumer or of others; renews those in
flight, and hands them over when the consumer stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.consumer.acknowledgements import Acknowledgements
from eventsvc.consumer.chore import Chore
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.recent import digest_of
from eventsvc.event import Entry
from eventsvc.interfaces import IEventGroup, Refused

#: Ids in one call.
_PAGE: Final = 1_000

#: The cursor of a search that begins, or has come to its end.
_START: Final = "0-0"


@attrs.define(eq=False)
class Recovery:
    """
    Takes up pending entries, page by page.

    @ivar claim_idle: idle seconds after which an entry of another consumer is
        claimed.  Idle entries are searched for ten times as often.
    """

    group: IEventGroup
    in_flight: InFlight
    acknowledgements: Acknowledgements
    clock: IReactorTime
    claim_idle: float
    claimed: int = attrs.field(default=0, init=False)
    trimmed: int = attrs.field(default=0, init=False)
    #: entries that were done before and came again
    recognised: int = attrs.field(default=0, init=False)
    #: the own entry taken up last; C{None} once there are no more
    _own: str | None = attrs.field(default="", init=False)
    #: ids that another event had which is not ours any more and still in flight
    _behind: set[str] = attrs.field(factory=set, init=False)
    _cursor: str = attrs.field(default=_START, init=False)
    #: whether all pending entries were searched once for idle ones
    has_searched: bool = attrs.field(default=False, init=False)
    _claim_due: float = attrs.field(default=0.0, init=False)
    _log = Logger()

    async def begin(self) -> None:
        """
        Find out which entries are still ours, acknowledge those of them that are
        done, and start again with the first own pending entry.

        The connection may be a new one: replies may have been lost, and Redis may
        have gone back in time.  Until this has ended, the entries are in doubt.
        """
        self.acknowledgements.begin()
        self.in_flight.recent.expect(self.in_flight.entries)
        held = {
            entry.id: digest_of(entry)
            for entry in (*self.acknowledgements.unconfirmed, *self.in_flight.entries.values())
        }
        ours = held.keys() - await self._renew_all(held)
        await self.acknowledgements.confirm(ours)
        if gone := self.in_flight.entries.keys() - ours:
            words = "{count} entries in flight are not ours any more: others claimed them, or Redis went back in time"
            self._log.warn(words, count=len(gone))
        self.in_flight.trust(ours)
        self._own = ""

    @property
    def has_own(self) -> bool:
        """Whether there may be own pending entries that are not taken up yet."""
        return self._own is not None or bool(self._behind and self._behind - self.in_flight.entries.keys())

    async def take_up_own(self, count: int, size: int) -> Sequence[Entry]:
        """
        Take up a page of own entries that were read before and not acknowledged.

        Without it, entries of a lost reply would wait forever: a read of new
        entries does not return them.
        """
        if not self._own:
            self._behind.clear()
        page = await self.group.read_pending(self._own or "", count, size)
        self._own = page[-1].id if page else None
        self._take(page, self._is_done)
        return page

    @property
    def claim_in(self) -> float:
        """Seconds until idle entries should be searched for; 0 while they are."""
        return max(0.0, self._claim_due - self.clock.seconds())

    async def claim(self, count: int, size: int) -> Sequence[Entry]:
        """
        Claim a page of entries that are idle with other consumers.

        The next page is due at once, until all pending entries were searched.
        """
        page = await self.group.claim(self.claim_idle, self._cursor, count, size)
        self._cursor = page.cursor
        if page.cursor == _START:
            self.has_searched = True
            self._claim_due = self.clock.seconds() + self.claim_idle / 10
        self.claimed += len(page.entries)
        self._note_trimmed(len(page.trimmed))
        self._take(page.entries, self._is_done)
        return page.entries

    def take_new(self, page: Sequence[Entry]) -> None:
        """Take new entries in flight; some may be known, if Redis went back in time."""
        if not self.in_flight.recent.is_expecting and not self.in_flight.lost:
            self.in_flight.take(page)
            return
        self._take(page, self.in_flight.recent.recognises)
        self.in_flight.recent.note_new(page)

    def _is_done(self, entry: Entry) -> bool:
        """Return whether a pending entry was done before: see the Note [Claimed back]."""
        return self.in_flight.recent.recognises(entry) or self.in_flight.recent.is_claimed_back(entry)

    def _take(self, page: Sequence[Entry], is_done: Callable[[Entry], bool]) -> None:
        """
        Take those entries in flight that are not done already.

        An entry whose id an event has that is not ours any more, and that the
        handler still has, is taken up after that.
        """
        done = {entry.id for entry in (*self.acknowledgements.unconfirmed, *self.in_flight.done)}
        new: list[Entry] = []
        again: list[Entry] = []
        for entry in page:
            if entry.id in done:
                continue
            known = self.in_flight.entries.get(entry.id)
            if known is None:
                (again if is_done(entry) else new).append(entry)
            elif entry.id in self.in_flight.lost:
                if digest_of(known) == digest_of(entry):
                    new.append(entry)
                else:
                    self._behind.add(entry.id)
        self._note_trimmed(sum(entry.fields is None for entry in new))
        if again:
            self.recognised += len(again)
            self._log.info("{count} events that were handled before come again, and are acknowledged", count=len(again))
            self.in_flight.pass_by(again)
        self.in_flight.take(new)

    def _note_trimmed(self, count: int) -> None:
        if count:
            self.trimmed += count
            self._log.critical(
                "{count} pending events were trimmed from the stream and are lost",
                count=count,
                details={"alarm": "trimmed_pending"},
            )

    @property
    def chores(self) -> Sequence[Chore]:
        """The chores that renew what is in flight, and remove stale consumers."""
        return Chore(self.claim_idle / 3, self._renew), Chore(60.0, self._remove_stale)

    async def _renew(self) -> None:
        """Renew what is in flight, so that others do not claim it."""
        others = await self._renew_all({id: "" for id in self.in_flight.entries if id not in self.in_flight.lost})
        if others:
            self.in_flight.drop(others)
            self._log.warn("another consumer claimed {count} entries in flight", count=len(others))

    async def _renew_all(self, digests: Mapping[str, str]) -> Sequence[str]:
        """Renew entries, and return the ids of those that are not ours any more."""
        rows = list(digests.items())
        others: list[str] = []
        for start in range(0, len(rows), _PAGE):
            others += await self.group.renew(dict(rows[start : start + _PAGE]))
        return others

    async def _remove_stale(self) -> None:
        """Remove consumers that have nothing pending and were not seen for long."""
        removed = await self.group.remove_stale(max(3600.0, 10 * self.claim_idle))
        if removed:
            self._log.info("removed stale consumers: {names}", names=", ".join(removed))

    async def hand_over(self, leave: Callable[[], Awaitable[None]] | None) -> None:
        """
        Acknowledge what is done, let other consumers claim the rest at once, and leave the group.

        A delivery that the stop has prevented or cancelled does not count: a few
        restarts would use all of them up.
        """
        self.in_flight.doubt()
        await self.group.open()
        await self.begin()
        unended: dict[int, list[str]] = {}
        for id, deliveries in self.in_flight.unended.items():
            unended.setdefault(deliveries, []).append(id)
        for deliveries, unspent in unended.items():
            for start in range(0, len(unspent), _PAGE):
                with suppress(Refused):  # they are handed over all the same
                    await self.group.count_delivery(unspent[start : start + _PAGE], deliveries)
        after = ""
        while ids := await self.group.list_pending(after, _PAGE):
            await self.group.release(ids)
            after = ids[-1]
        if leave is not None:
            await leave()
