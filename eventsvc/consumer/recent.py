"""
Recognises entries that come again after Redis went back in time: pure decisions, no I/O.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha1
from itertools import chain
from typing import Final

import attrs

from eventsvc.event import EVENT_FIELD, Entry, place_of

#: Entries that are remembered, at 8 bytes each, and those of them that are forgotten together.
MOST: Final = 100_000
_PART: Final = 1_000


class Shell(Entry, frozen=True, gc=False):
    """
    An entry on its way to the dead letters, whose event is not kept.

    @ivar digest: the L{digest_of} its event.
    """

    digest: str = ""


def digest_of(entry: Entry) -> str:
    """
    Return what two entries with equal fields have in common, as a script computes it.

    SHA-1 of the names and values in turn, each as a netstring without its comma; C{-} if the fields are gone.
    """
    if isinstance(entry, Shell):
        return entry.digest
    if entry.fields is None:
        return "-"
    parts = (b"%d:%b" % (len(part), part) for pair in entry.fields.items() for part in pair)
    return sha1(b"".join(parts), usedforsecurity=False).hexdigest()


@attrs.define(eq=False)
class RecentEntries:
    """
    Remembers the entries that were done last, and recognises them when they come again.

    # Note [Redis goes back]

    After a failover to a replica that lags, acknowledgements are undone, and
    entry ids may be given out again for other events::

        us:     handled 5 = a,  XACK 5               | what is 5?
        Redis:                          5 = a acked  | failover: 5 = a is pending, or unread, or 5 = b

    If 5 comes with the bytes of C{a} it is acknowledged, and C{a} not handled
    again.  If it comes with others it is another event.  Neither the id nor the
    bytes alone identify an event: a producer may send the same bytes twice.

    It recognises entries only from a reconnection until new ones are read that
    are later than all of them, so that somebody who sets the group back gets all
    events again.
    """

    _parts: deque[array[int]] = attrs.field(factory=lambda: deque([array("q")], MOST // _PART), init=False)
    _last: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    _until: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    #: those that may come again; C{None} while none is expected
    _expected: set[int] | None = attrs.field(default=None, init=False)

    def add(self, ids: Sequence[str], events: Iterable[bytes | None]) -> None:
        """Remember entries that are done, by their ids and the bytes of their events."""
        if not ids:
            return
        self._last = max(self._last, place_of(ids[-1]))
        if len(self._parts[-1]) >= _PART:
            self._parts.append(array("q"))
        hashes: Iterable[int] = map(hash, zip(ids, events, strict=True))
        if self._expected is not None:
            hashes = list(hashes)
            self._expected.update(hashes)
        self._parts[-1].extend(hashes)

    def expect(self, in_flight: Iterable[str] = ()) -> None:
        """Recognise entries from now on, also those that are still in flight once they are done."""
        self._expected = set(chain.from_iterable(self._parts))
        self._until = max([self._last, *map(place_of, in_flight)])

    def note_new(self, page: Sequence[Entry]) -> None:
        """End the recognition if a page of new entries goes past those that are remembered, or is empty."""
        if not page or place_of(page[-1].id) > self._until:
            self._expected = None

    def clear(self) -> None:
        """Forget all entries."""
        self._parts = deque([array("q")], MOST // _PART)
        self._last = (0, 0)

    @property
    def is_expecting(self) -> bool:
        """Whether entries may come again."""
        return self._expected is not None

    def recognises(self, entry: Entry) -> bool:
        """Return whether an entry was done before: the same bytes under the same id."""
        if self._expected is None or entry.fields is None:
            return False
        event = entry.fields.get(EVENT_FIELD)
        return event is not None and hash((entry.id, event)) in self._expected
