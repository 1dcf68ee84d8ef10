"""
Reads and searches a stream without a group, for people who look for an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from eventsvc.event import Entry
from eventsvc.redis.connection import Connection
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
    found: Sequence[Entry]


@attrs.frozen
class Delivery:
    """
    What a group knows of an entry.

    @ivar state: C{unread}, C{pending}, or C{done}: read, and not pending any more.
    @ivar consumer: who has it, if it is pending.
    @ivar deliveries: how often it was delivered, if it is pending.
    @ivar idle: seconds since its last delivery, if it is pending.
    """

    group: str
    state: str
    consumer: str = ""
    deliveries: int = 0
    idle: float = 0.0


@attrs.frozen(eq=False)
class Search:
    """
    Reads a stream, or the dead letters of one.

    Every operation fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.

    @ivar key: the key of the stream.
    """

    connection: Connection
    key: str | bytes

    def search(self, texts: Sequence[bytes], before: str, oldest: str, most: int) -> Deferred[Stretch]:
        """
        Search a stretch that is so short that Redis is not kept busy.

        @param texts: an entry is found if a value of it contains one.
        @param before: the id before which to begin; empty for the end of the stream.
        @param oldest: the id at which to end.
        @param most: number of entries found after which to end.
        """
        arguments: list[Argument] = [f"({before}" if before else "+", oldest, _ENTRIES, _BYTES, most, *texts]
        reply = self.connection.run(_SEARCH, [self.key], arguments, timeout=_TIMEOUT)
        return reply.addCallback(_read_stretch)

    def read_after(self, id: str, count: int, block: float) -> Deferred[Sequence[Entry]]:
        """
        Read the entries behind an id, in their order.

        @param block: the most seconds to wait for one.
        """
        words: list[Argument] = ["XREAD", "COUNT", count, "BLOCK", max(1, round(block * 1000)), "STREAMS", self.key, id]
        reply = self.connection.call(*words, timeout=block + _TIMEOUT)
        return reply.addCallback(lambda found: [_read_entry(*row) for row in found[0][1]] if found else [])

    def find(self, id: str) -> Deferred[Entry | None]:
        """Read one entry; C{None} if it does not exist."""
        reply = self.connection.call("XRANGE", self.key, id, id, timeout=_TIMEOUT)
        return reply.addCallback(lambda rows: _read_entry(*rows[0]) if rows else None)

    def count(self) -> Deferred[int]:
        """Fire with the number of entries."""
        return self.connection.call("XLEN", self.key, timeout=_TIMEOUT)

    def deliveries(self, id: str) -> Deferred[Sequence[Delivery]]:
        """Fire with what each group knows of an entry."""
        return Deferred.fromCoroutine(self._deliveries(id))

    async def _deliveries(self, id: str) -> Sequence[Delivery]:
        groups = [_pairs(row) for row in await self.connection.call("XINFO", "GROUPS", self.key, timeout=_TIMEOUT)]
        return [await self._delivery(about[b"name"], about[b"last-delivered-id"].decode(), id) for about in groups]

    async def _delivery(self, group: bytes, last: str, id: str) -> Delivery:
        name = group.decode("utf-8", "backslashreplace")
        rows = await self.connection.call("XPENDING", self.key, group, id, id, 1, timeout=_TIMEOUT)
        if rows:
            _, consumer, idle, deliveries = rows[0]
            return Delivery(name, "pending", consumer.decode("utf-8", "backslashreplace"), deliveries, idle / 1000)
        return Delivery(name, "unread" if order_of(id) > order_of(last) else "done")


def order_of(id: str) -> tuple[int, int]:
    """Return the key by which ids of entries are sorted."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)


def _pairs(row: Sequence[Any]) -> Mapping[bytes, Any]:
    return dict(zip(row[::2], row[1::2]))


def _read_entry(id: bytes, fields: Sequence[bytes]) -> Entry:
    return Entry(id.decode(), _pairs(fields))


def _read_stretch(reply: Sequence[Any]) -> Stretch:
    seen, last, found = reply
    return Stretch(seen, (last or b"").decode(), [_read_entry(*row) for row in found])
