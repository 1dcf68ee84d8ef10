"""
Takes up pending entries, of this consumer or of others; renews those in
flight, and hands them over when the consumer stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.consumer.acknowledgements import Acknowledgements
from eventsvc.consumer.chore import Chore
from eventsvc.consumer.in_flight import InFlight
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
    #: the own entry taken up last; C{None} once there are no more
    _own: str | None = attrs.field(default="", init=False)
    _cursor: str = attrs.field(default=_START, init=False)
    _claim_due: float = attrs.field(default=0.0, init=False)
    _log = Logger()

    def begin_own(self) -> None:
        """Start again with the first own pending entry: replies may have been lost."""
        self._own = ""

    @property
    def has_own(self) -> bool:
        """Whether there may be own pending entries that are not taken up yet."""
        return self._own is not None

    async def take_up_own(self, count: int, size: int) -> Sequence[Entry]:
        """
        Take up a page of own entries that were read before and not acknowledged.

        Without it, entries of a lost reply would wait forever: a read of new
        entries does not return them.
        """
        page = await self.group.read_pending(self._own or "", count, size)
        self._own = page[-1].id if page else None
        self._take(page)
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
            self._claim_due = self.clock.seconds() + self.claim_idle / 10
        self.claimed += len(page.entries)
        self._note_trimmed(len(page.trimmed))
        self._take(page.entries)
        return page.entries

    def _take(self, page: Sequence[Entry]) -> None:
        """Take those entries in flight that are not done already."""
        known = self.acknowledgements.unconfirmed.union(self.in_flight.done, self.in_flight.entries)
        new = [entry for entry in page if entry.id not in known]
        self._note_trimmed(sum(entry.fields is None for entry in new))
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
        ids = list(self.in_flight.entries)
        for start in range(0, len(ids), _PAGE):
            others = await self.group.renew(ids[start : start + _PAGE])
            if others:
                self.in_flight.drop(others)
                self._log.warn("another consumer claimed {count} entries in flight", count=len(others))

    async def _remove_stale(self) -> None:
        """Remove consumers that have nothing pending and were not seen for long."""
        removed = await self.group.remove_stale(max(3600.0, 10 * self.claim_idle))
        if removed:
            self._log.info("removed stale consumers: {names}", names=", ".join(removed))

    async def hand_over(self) -> None:
        """
        Acknowledge what is done, and let other consumers claim the rest at once.

        A delivery that the stop has prevented or cancelled does not count: a few
        restarts would use all of them up.
        """
        await self.group.open()
        await self.acknowledgements.confirm()
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
