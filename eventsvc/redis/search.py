"""
Searches a stream for entries that contain a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from eventsvc.dashboard.story import StoredEntry
from eventsvc.redis.connection import Connection
from eventsvc.redis.events import read_entries
from eventsvc.redis.scripts import load_script
from eventsvc.redis.session import Argument

_SEARCH: Final = load_script("search.lua")

#: Bounds of one call: Redis answers nobody else meanwhile.
_ENTRIES: Final = 2_000
_BYTES: Final = 2_000_000
#: Seconds one call may take.
_TIMEOUT: Final = 5.0


@attrs.frozen
class Stretch:
    """
    A stretch of a stream that was searched.

    @ivar seen: number of its entries; 0 at the end of the stream.
    @ivar last: the id of the oldest of them; empty if there is none.
    @ivar found: the entries that were found, the newest first.
    """

    seen: int
    last: str
    found: Sequence[StoredEntry]


@attrs.frozen(eq=False)
class Search:
    """
    Searches a stream, or the dead letters of one.

    @ivar key: the key of the stream.
    """

    connection: Connection
    key: str | bytes

    def search(self, texts: Sequence[bytes], before: str, oldest: str, most: int) -> Deferred[Stretch]:
        """
        Search a stretch that is so short that Redis is not kept busy.

        Fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.

        @param texts: an entry is found if a value of it contains one.
        @param before: the id before which to begin; empty for the end of the stream.
        @param oldest: the id at which to end.
        @param most: number of entries found after which to end.
        """
        arguments: list[Argument] = [f"({before}" if before else "+", oldest, _ENTRIES, _BYTES, most, *texts]
        return self.connection.run(_SEARCH, [self.key], arguments, timeout=_TIMEOUT).addCallback(_read_stretch)


def _read_stretch(reply: Sequence[Any]) -> Stretch:
    seen, last, found = reply
    return Stretch(seen, (last or b"").decode(), read_entries(found))
