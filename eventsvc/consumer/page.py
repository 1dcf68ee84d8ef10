"""
How many bytes of entries to read at once: pure decisions, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from eventsvc.event import Entry

#: Bytes of entries asked for at once when nothing is wrong, and the least.
PAGE_BYTES: Final = 4 * 2**20
_LEAST: Final = 16 * 2**10

#: Bytes of entries in flight past which no more are asked for.
_MOST_IN_FLIGHT: Final = 16 * 2**20

#: What an entry is taken to weigh before any was seen.
_UNSEEN: Final = 256 * 2**10

#: What a page without a large entry leaves of the memory of the last one.
_FORGETTING: Final = 0.8


def size_of(entry: Entry) -> int:
    """Return the bytes of an entry's fields."""
    return sum(map(len, entry.fields.values())) if entry.fields else 0


@attrs.define
class PageSize:
    """
    Bounds a page of entries by its bytes.

    The largest recent entry decides how many may be read; its weight decays, so
    that one large entry does not keep all pages small.  After a page that did
    not arrive the limit is halved, and each page that arrives doubles it again.

    @ivar limit: bytes that a page may have at present.
    """

    limit: int = PAGE_BYTES
    _largest: float = attrs.field(default=_UNSEEN, init=False)
    _largest_in_flight: int = attrs.field(default=0, init=False)

    def count(self, most: int) -> int:
        """Return how many entries to read: at least 1, at most C{most}."""
        return max(1, min(most, int(self.limit / self._largest)))

    def arrived(self, entries: Iterable[Entry]) -> None:
        """Adapt to a page that arrived."""
        self.limit = min(2 * self.limit, PAGE_BYTES)
        largest = max([len(value) for entry in entries if entry.fields for value in entry.fields.values()], default=0)
        if largest:
            self._largest = max(largest, self._largest * _FORGETTING)
            self._largest_in_flight = max(largest, self._largest_in_flight)

    def failed(self) -> None:
        """Halve the limit: a page may have been too large to arrive in time."""
        self.limit = max(self.limit // 2, _LEAST)

    def is_filled_by(self, entries: dict[str, Entry]) -> bool:
        """Return whether the entries in flight have so many bytes that no more may be read."""
        if not entries:
            self._largest_in_flight = 0
        if len(entries) * self._largest_in_flight < _MOST_IN_FLIGHT:
            return False
        return sum(map(size_of, entries.values())) >= _MOST_IN_FLIGHT
