"""
Reads entries of a stream to show them, beside all groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from eventsvc.dashboard.source import PAGE_BYTES
from eventsvc.dashboard.story import NO_GROUP, Delivery, MaybeDelivery, StoredEntry
from eventsvc.redis.connection import Connection, ErrorReply
from eventsvc.redis.dead import DeadLetter, DeadLetters
from eventsvc.redis.scripts import load_script
from eventsvc.stream_state import GroupState

_PAGE: Final = load_script("events.lua")
#: How many dead letters are searched for the one of an entry, and how many at once.
_LETTERS: Final = 1_000
_SOME_LETTERS: Final = 200


@attrs.frozen(eq=False)
class StreamEvents:
    """
    The entries of a stream.

    Every operation fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.
    """

    connection: Connection
    stream: str

    def read_newest(self, before: str, count: int) -> Deferred[Sequence[StoredEntry]]:
        """Read at most C{count} entries before an id, the newest first; empty for the newest of all."""
        return self._page("XREVRANGE", f"({before}" if before else "+", count)

    def read_after(self, after: str, count: int) -> Deferred[Sequence[StoredEntry]]:
        """Read at most C{count} entries after an id, the oldest first."""
        return self._page("XRANGE", f"({after}", count)

    def _page(self, command: str, first: str, count: int) -> Deferred[Sequence[StoredEntry]]:
        return self.connection.run(_PAGE, [self.stream], [command, first, count, PAGE_BYTES]).addCallback(read_entries)

    def find(self, id: str) -> Deferred[StoredEntry | None]:
        """Read one entry; C{None} if the stream does not have it, or no longer."""
        reply = self.connection.call("XRANGE", self.stream, id, id)
        return reply.addCallback(lambda rows: read_entries(rows)[0] if rows else None)

    def find_delivery(self, group: GroupState, id: str) -> Deferred[MaybeDelivery]:
        """Return with which consumer of a group an entry is pending; C{None} if it is not."""
        reply = self.connection.call("XPENDING", self.stream, group.name, id, id, 1)
        return reply.addCallbacks(lambda rows: _read_delivery(rows[0]) if rows else None, _read_no_group)

    def find_letter(self, id: str) -> Deferred[DeadLetter | None]:
        """
        Find the dead letter of an entry.

        It is looked for among the first thousand that were set aside after the entry was stored.
        """
        return ensureDeferred(self._find_letter(id))

    async def _find_letter(self, id: str) -> DeadLetter | None:
        letters = DeadLetters(self.connection, self.stream)
        after, left = f"{max(0, int(id.partition('-')[0]) - 1)}-0", _LETTERS
        while left > 0 and (page := await letters.read(after, _SOME_LETTERS)):
            for letter in page:
                if letter.original == id:
                    return letter
            after, left = page[-1].id, left - len(page)
        return None


def read_entries(rows: Sequence[Any]) -> Sequence[StoredEntry]:
    """Return the entries of a reply such as that of C{XRANGE}."""
    return [StoredEntry(id.decode(), tuple(zip(parts[::2], parts[1::2], strict=True))) for id, parts in rows]


def _read_no_group(failure: Failure) -> Failure | Literal["no group"]:
    error = failure.value
    return NO_GROUP if isinstance(error, ErrorReply) and error.code == "NOGROUP" else failure


def _read_delivery(row: Sequence[Any]) -> Delivery:
    _, consumer, idle, deliveries = row
    return Delivery(consumer.decode("utf-8", "backslashreplace"), idle / 1000, deliveries)
