"""
The entries that a consumer has and that are not done yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import attrs
from twisted.internet.defer import Deferred

from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.recent import RecentEntries, Shell, digest_of
from eventsvc.event import EVENT_FIELD, Entry


@attrs.define(eq=False)
class OpenEntries:
    """
    Keeps account of entries until they are done.

    @ivar on_handled: called with entries that were handled.
    @ivar by_id: those that are not done yet, in the order in which they came.
    @ivar done: those to acknowledge.
    @ivar lost: ids of those that were begun and are not ours any more: another
        consumer has taken them over, or Redis went back in time.
    @ivar in_doubt: whether Redis has yet to say which are still ours: until then
        none is acknowledged, counted or set aside.
    """

    counts: ConsumerCounts
    on_handled: Callable[[Sequence[Entry]], object] = lambda _: None
    by_id: dict[str, Entry] = attrs.field(factory=dict, init=False)
    done: list[Entry] = attrs.field(factory=list, init=False)
    lost: set[str] = attrs.field(factory=set, init=False)
    in_doubt: bool = attrs.field(default=False, init=False)
    recent: RecentEntries = attrs.field(factory=RecentEntries, init=False)
    _watchers: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def add(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """Add entries, and return those that are new."""
        new = {entry.id: entry for entry in entries}
        for id in self.by_id.keys() & new.keys():
            self.lost.discard(id)  # it is ours again
            del new[id]
        self.by_id.update(new)
        return new.values()

    def lose(self, ids: Collection[str]) -> None:
        """Note that entries which were begun are not ours any more."""
        self.lost.update(self.by_id.keys() & ids)

    def drop_event(self, id: str, deliveries: int) -> None:
        """Keep of an entry only what it is known by."""
        if (entry := self.by_id.get(id)) is not None:
            self.by_id[id] = Shell(id, None, deliveries, again=True, digest=digest_of(entry))

    def succeed(self, run: Sequence[Entry]) -> None:
        """Count entries as handled, and end them."""
        self.counts.handled += len(run)
        self.on_handled(run)
        self.end(run)

    def end(self, entries: Sequence[Entry]) -> None:
        """End entries, and have those acknowledged that are still ours."""
        ids = [entry.id for entry in entries]
        self.recent.add(ids, [entry.fields.get(EVENT_FIELD) if entry.fields else None for entry in entries])
        if self.lost:
            self.recent.keep(entry for entry in entries if entry.id in self.lost)
            entries = [entry for entry in entries if entry.id not in self.lost]
        self.done += entries
        self.forget(ids)

    def forget(self, ids: Sequence[str]) -> None:
        """Forget entries without acknowledging them."""
        pop = self.by_id.pop
        for id in ids:
            pop(id, None)
        if self.lost:
            self.lost.difference_update(ids)
        self.changed()

    def changed(self) -> None:
        """Tell those who wait that something has ended."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)

    def when_changed(self) -> Deferred[None]:
        """Fire when something has ended."""
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher
