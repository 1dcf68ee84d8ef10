"""
The entries that wait for the handler, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Iterable, Sequence

import attrs

from eventsvc.consumer.key_order import KeyOrder
from eventsvc.event import Entry, Notification, place_of


@attrs.define(eq=False)
class Line:
    """
    Holds entries until the handler has room for them.

    @ivar one_at_a_time: whether one entry or batch is handled at a time, so that
        the order of all is kept; else that of each key is.
    @ivar entries: those that may be begun.
    """

    one_at_a_time: bool
    entries: deque[Entry] = attrs.field(factory=deque, init=False)
    _keys: KeyOrder = attrs.field(factory=KeyOrder, init=False)

    @property
    def behind(self) -> int:
        """The number of entries that wait behind others of their key."""
        return self._keys.waiting

    def admits(self, entry: Entry, notification: Notification, keys: Container[str] = ()) -> bool:
        """
        Return whether no other entry of the key is handled; if one is, this one waits behind it.

        @param keys: those of the batch that the entry would be part of.
        """
        key = notification.key
        return self.one_at_a_time or not key or self._keys.admits(key, entry, joins=key in keys)

    def begin(self, keys: Iterable[str], id: str) -> None:
        """Note that entries with these keys are handled now."""
        if not self.one_at_a_time:
            for key in keys:
                self._keys.begin(key, id)

    def end(self, keys: Iterable[str], last: bool) -> None:
        """
        Note that they are handled no more, so that the next of each key may be begun.

        They need not have been noted before, if they have ended at once.

        @param last: whether those come after all others.
        """
        if not self.one_at_a_time:
            for key in keys:
                if (entry := self._keys.end(key)) is not None:
                    (self.entries.append if last else self.entries.appendleft)(entry)

    def take(self, behind: int) -> Entry:
        """Take the head of the line, or the entry so far behind it; past the end, it starts again."""
        place = behind % len(self.entries) if self.one_at_a_time else 0
        entry = self.entries[place]
        del self.entries[place]
        return entry

    def put_back(self, batch: Sequence[tuple[Entry, Notification]]) -> None:
        """
        Put back entries that were begun, because the breaker is open.

        If the order of all is not kept, each takes its turn behind the others, so
        that a few that can never be handled do not hold up the rest for good.
        """
        for entry, notification in reversed(batch):
            if self.one_at_a_time:
                place = place_of(entry.id)
                later = (index for index, each in enumerate(self.entries) if place_of(each.id) > place)
                self.entries.insert(next(later, len(self.entries)), entry)
            elif notification.key:
                self._keys.put_back(notification.key, entry)
            else:
                self.entries.append(entry)

    def drop(self, ids: Collection[str]) -> Sequence[str]:
        """Drop entries that wait, and return their ids."""
        dropped = [entry.id for entry in self.entries if entry.id in ids]
        if dropped:
            self.entries = deque(entry for entry in self.entries if entry.id not in ids)
        behind, turns = self._keys.drop(ids)
        self.entries.extendleft(turns)
        return [*dropped, *behind]
