"""
Recognises entries that come again after Redis went back in time: pure decisions, no I/O.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha1
from itertools import chain, islice
from typing import Final

import attrs

from eventsvc.event import EVENT_FIELD, Entry, place_of

#: Entries that are remembered, at 8 bytes each, and those of them that are forgotten together.
MOST: Final = 100_000
_PART: Final = 1_000
#: Entries that may be claimed back, which are remembered for longer than that.
_MOST_KEPT: Final = 10_000


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

    # Note [Claimed back]

    What took too long is claimed by another consumer, which may end or be suspended before it has handled it::

        us:       handles 5 ...   (no renewal for long)   ... 5 is done, not ours    claims 5
        another:                             claims 5, and is suspended

    The entry is pending, so nobody has acknowledged it.  Whatever was done here and could not be acknowledged is
    recognised for good once it is claimed back, and only then: an entry that is read is always handled.
    """

    _parts: deque[array[int]] = attrs.field(factory=lambda: deque([array("q")], MOST // _PART), init=False)
    _last: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    _until: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    #: those that may come again; C{None} while none is expected
    _expected: set[int] | None = attrs.field(default=None, init=False)
    #: those that may be claimed back, the oldest first
    _unacknowledged: dict[int, None] = attrs.field(factory=dict, init=False)

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

    def keep(self, entries: Iterable[Entry]) -> None:
        """Recognise entries that are done when they are claimed back: they may not be acknowledged."""
        self._unacknowledged.update(dict.fromkeys(filter(None, map(_hash_of, entries))))
        for known in list(islice(self._unacknowledged, max(0, len(self._unacknowledged) - _MOST_KEPT))):
            del self._unacknowledged[known]

    def note_new(self, page: Sequence[Entry]) -> None:
        """End the recognition if a page of new entries goes past those that are remembered, or is empty."""
        if not page or place_of(page[-1].id) > self._until:
            self._expected = None

    def clear(self) -> None:
        """Forget all entries."""
        self._parts = deque([array("q")], MOST // _PART)
        self._last = (0, 0)
        self._unacknowledged.clear()

    @property
    def is_expecting(self) -> bool:
        """Whether entries may come again."""
        return self._expected is not None

    def recognises(self, entry: Entry) -> bool:
        """Return whether an entry was done before: the same bytes under the same id."""
        return self._expected is not None and _hash_of(entry) in self._expected

    def is_claimed_back(self, entry: Entry) -> bool:
        """Return whether an entry that was claimed, or is pending here again, was done but not acknowledged."""
        return bool(self._unacknowledged) and _hash_of(entry) in self._unacknowledged


def _hash_of(entry: Entry) -> int | None:
    """Return what stands for the bytes of an entry under its id; C{None} if they are gone."""
    event = entry.fields.get(EVENT_FIELD) if entry.fields else None
    return None if event is None else hash((entry.id, event))
