"""
The entries a consumer has in flight: each is given to the handler, and is done
once the handler has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.breaker import Breaker
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery_attempts import DeliveryAttempts
from eventsvc.consumer.dispatch import Dispatch
from eventsvc.consumer.open_entries import OpenEntries
from eventsvc.consumer.recent import RecentEntries
from eventsvc.consumer.setting_aside import SettingAside
from eventsvc.event import Entry
from eventsvc.interfaces import IEventGroup

#: Entries that may wait behind others of their key, or for the end of an outage, in addition to those in flight.
_MOST_BEHIND: Final = 1_000


@attrs.define(eq=False)
class InFlight:
    """
    Takes entries, gives them to the handler, and knows which are done.

    @ivar concurrency: events or batches that are handled at the same time.
    @ivar retry_for: seconds for which an event is retried, even if its
        deliveries are used up.
    @ivar exit: called with a sentence when the handler asks to end the process;
        no entry is begun after that.
    @ivar on_handled: called with entries that were handled.
    @ivar acknowledge_early: called to acknowledge what is done: when plain handlers
        have held the reactor for long and more entries wait, and before a delivery
        is counted.
    """

    group: IEventGroup
    handler: BoundHandler
    clock: IReactorTime
    jitter: Callable[[], float]
    concurrency: int = 1
    max_deliveries: int = 5
    retry_for: float = 0.0
    exit: Callable[[str], object] = lambda _: None
    counts: ConsumerCounts = attrs.field(factory=ConsumerCounts)
    on_handled: Callable[[Sequence[Entry]], object] = lambda _: None
    acknowledge_early: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    aside: SettingAside = attrs.field(init=False)
    breaker: Breaker = attrs.field(init=False)
    _open: OpenEntries = attrs.field(init=False)
    _attempts: DeliveryAttempts = attrs.field(init=False)
    _dispatch: Dispatch = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._open = OpenEntries(self.counts, self.on_handled)
        self.aside = SettingAside(self.group, self._open, self.clock, self.jitter, self.counts)
        self.breaker = Breaker(self.clock, self.jitter, lambda *arguments: self._dispatch.begin_probe(*arguments))
        self._attempts = DeliveryAttempts(
            group=self.group,
            handler=self.handler,
            breaker=self.breaker,
            exit=self.exit,
            acknowledge_early=lambda: self.acknowledge_early(),
            ended=lambda id: self._dispatch.isolation.end(id),
            clock=self.clock,
            jitter=self.jitter,
            max_deliveries=self.max_deliveries,
            retry_for=self.retry_for,
            counts=self.counts,
            open=self._open,
        )
        self._dispatch = Dispatch(
            open=self._open,
            handler=self.handler,
            attempts=self._attempts,
            breaker=self.breaker,
            aside=self.aside,
            clock=self.clock,
            counts=self.counts,
            concurrency=self.concurrency,
            # One may have been in company: see the Note [Bystanders].
            max_deliveries=max(self.max_deliveries, 2 if self.concurrency > 1 else 1),
            acknowledge_early=lambda: self.acknowledge_early(),
        )

    @property
    def entries(self) -> dict[str, Entry]:
        """The entries that are not done yet, by id."""
        return self._open.by_id

    @property
    def done(self) -> Sequence[Entry]:
        """The entries to acknowledge."""
        return self._open.done

    @property
    def recent(self) -> RecentEntries:
        """The entries that were done last."""
        return self._open.recent

    @property
    def lost(self) -> Collection[str]:
        """The ids of entries that the handler has although they are not ours any more."""
        return self._open.lost

    @property
    def in_doubt(self) -> bool:
        """Whether Redis has yet to say which entries are still ours."""
        return self._open.in_doubt

    @property
    def load(self) -> int:
        """The number of entries that wait for the handler, or are with it."""
        waiting = self._dispatch.line.behind + self._attempts.put_back
        return len(self.entries) - len(self.aside) - min(waiting, _MOST_BEHIND)

    @property
    def is_busy(self) -> bool:
        """Whether a new entry would have to wait for the handler."""
        return self._dispatch.is_busy

    @property
    def needs_another(self) -> bool:
        """
        Whether all that is left to try has failed, so that only another entry tells whether there is an outage.

        # Note [Waiting for another entry]

        Redis gives a new entry to the consumer that waits for the longest.  One
        that only asks gets none beside one that is idle, so its breaker would
        stay open for good if all that it has can never be handled::

            consumer 1:  bad fails  asks: nothing  bad fails  asks: nothing
            consumer 2:  waits                     gets 7     waits    gets 8
        """
        return self.breaker.is_open and self.load <= 0

    def take(self, entries: Iterable[Entry]) -> None:
        """Take entries in flight, except those that are in flight already."""
        self._dispatch.add(self._open.add(entries))

    def doubt(self) -> None:
        """Acknowledge, count and set aside nothing until L{trust}: the connection may be a new one."""
        self._open.in_doubt = True

    def trust(self, ours: Collection[str]) -> None:
        """End the doubt: drop what is in flight and not among these ids."""
        self._open.lost.difference_update(ours)
        self.recent.keep(entry for entry in self.done if entry.id not in ours)
        self._open.done = [entry for entry in self._open.done if entry.id in ours]
        self._open.in_doubt = False
        self.drop(self.entries.keys() - ours)

    def pass_by(self, entries: Sequence[Entry]) -> None:
        """Acknowledge entries without handling them."""
        self._open.end(entries)

    def take_done(self) -> Sequence[Entry]:
        """Return the entries to acknowledge, each once."""
        done, self._open.done = self._open.done, []
        return done

    def drop(self, ids: Collection[str]) -> None:
        """
        Drop entries that are not ours any more.

        A handler that has begun goes on; if it fails, it is not retried.
        """
        lost = self.entries.keys() & set(ids)
        self.aside.drop(lost)
        self._dispatch.drop(lost)
        self._open.lose(lost)

    @property
    def unended(self) -> Mapping[str, int]:
        """
        The deliveries that were spent on entries, by id, without the one that has not ended.

        Redis has counted one for each that was read, also if the handler was never called.
        """
        unbegun = {entry.id: entry.deliveries - 1 for entry in self.entries.values() if not entry.again}
        unended = {**unbegun, **self._attempts.unended}
        return {id: deliveries for id, deliveries in unended.items() if id not in self.lost}

    def when_changed(self) -> Deferred[None]:
        """Fire when the next entry is done."""
        return self._open.when_changed()

    async def finish(self) -> None:
        """Begin no more entries, and wait for those that the handler has."""
        self._dispatch.stop()
        self._attempts.stop_retrying()
        while self._dispatch.is_working:
            await self.when_changed()
        self.aside.stop()

    def cancel(self) -> None:
        """Cancel the entries that were begun."""
        self._attempts.cancelled = True
        self.aside.stop()
        self._dispatch.cancel()
