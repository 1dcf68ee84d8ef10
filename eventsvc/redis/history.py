"""
Trims what every group of a stream has acknowledged, and reads how much memory
the server uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from eventsvc.errors import Refused
from eventsvc.memory import Memory
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import ErrorReply
from eventsvc.redis.questions import parse_info
from eventsvc.redis.scripts import load_script

TRIM: Final = load_script("trim.lua")

#: Entries that one call to trim may remove.
TRIM_STEP: Final = 1_000


async def read_memory(call: Callable[..., Deferred[Any]]) -> Memory:
    """
    Return the memory that counts against C{maxmemory}; none is known if the user may not ask.

    Replicas' output buffers and the buffers of the append-only file do not count: C{INFO memory},
    C{mem_not_counted_for_evict}.

    @param call: sends a command; as L{Connection.call}.
    """
    try:
        found = parse_info(await call("INFO", "memory"))
    except ErrorReply as error:
        if error.code != "NOPERM":
            raise
        return Memory()
    used = int(found.get(b"used_memory", 0)) - int(found.get(b"mem_not_counted_for_evict", 0))
    return Memory(used, int(found.get(b"maxmemory", 0)))


@attrs.frozen(eq=False)
class RedisHistory:
    """The history of the streams of a producer."""

    connection: Connection
    streams: Sequence[str]

    def memory(self) -> Deferred[Memory]:
        """Fire with the memory of the server."""
        return ensureDeferred(read_memory(self.connection.call))

    def trim(self) -> Deferred[int]:
        """
        Remove some of the oldest acknowledged entries of each stream, and fire with their number.

        Fails with L{Refused} only if it removes none.
        """
        return ensureDeferred(self._trim())

    async def _trim(self) -> int:
        removed, problem = 0, None
        for stream in self.streams:
            try:
                removed += await self.connection.run(TRIM, [stream], [0, TRIM_STEP])
            except Refused as error:  # the others may have something to give
                problem = error
        if problem is not None and not removed:
            raise problem
        return removed
