"""
Reads how far a stream and one of its groups have come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred

from eventsvc.errors import Refused
from eventsvc.event import is_entry_id, place_of
from eventsvc.redis.connection import Connection
from eventsvc.redis.dead import DeadLetters
from eventsvc.redis.errors import ErrorReply, UnclearReply
from eventsvc.redis.measuring import explain
from eventsvc.redis.session import Argument

T = TypeVar("T")

#: What a user needs on the keys of the stream and of its dead letters, as rules of its ACL.
RIGHTS: Final = "+xrange +xrevrange +xpending +xinfo|groups"

#: Larger than the id of any entry.
_BEYOND_ALL: Final = (2**64, 0)


@attrs.frozen(eq=False)
class StreamProgress:
    """
    A stream and one of its groups, seen from beside: nothing is written, or read in the name of the group.

    Every operation waits for a connection, and fails with L{eventsvc.errors.Refused} or L{eventsvc.errors.Unknown}.
    """

    connection: Connection
    stream: str
    group: str

    async def find_newest(self) -> str:
        """Return the id of the newest entry; empty if there is none."""
        return await self._find("XREVRANGE", "+", "-")

    async def find_oldest(self) -> str:
        """Return the id of the oldest entry; empty if there is none."""
        return await self._find("XRANGE", "-", "+")

    async def _find(self, command: str, first: str, last: str) -> str:
        rows = await self._ask(command, self.stream, first, last, "COUNT", 1)
        return rows[0][0].decode() if rows else ""

    async def read(self, first: str, count: int) -> Sequence[tuple[str, bytes, bytes]]:
        """Return at most C{count} entries from this id on: the id, the name of the first field, and its value."""
        rows = await self._ask("XRANGE", self.stream, first, "+", "COUNT", count)
        return [(id.decode(), fields[0], fields[1]) for id, fields in rows]

    async def find_frontier(self) -> tuple[int, int]:
        """
        Return an id before which the group has acknowledged everything; (0, 0) if there is no group.

        # Note [Two commands, one answer]

        Between the commands the group may read and acknowledge more.  What was last
        delivered is asked first.  What was delivered until then and is not pending
        later is acknowledged, because nothing that is acknowledged becomes pending::

            we       last delivered: 7                        oldest pending: 9   -> 7 and before are done
            group                       reads 8 and 9, acks 8

        The other way round, an entry that is pending could be taken for done::

            we       oldest pending: none               last delivered: 8   -> 8 and before are done: wrong
            group                            reads 8
        """
        delivered = _find_group(await self._ask("XINFO", "GROUPS", self.stream), self.group)
        if delivered is None:
            return (0, 0)
        rows = await self._ask("XPENDING", self.stream, self.group, "-", "+", 1)
        oldest = place_of(rows[0][0].decode()) if rows else _BEYOND_ALL
        return min((delivered[0], delivered[1] + 1), oldest)

    async def find_newest_dead(self) -> str:
        """Return the id of the newest dead letter; empty if there is none."""
        await self.connection.when_ready()
        return await self._explained("XREVRANGE", self._letters.find_newest())

    async def read_dead(self, after: str) -> tuple[str, Sequence[tuple[int, int]]]:
        """
        Read a page of dead letters with ids greater than C{after}.

        @return: the id of the last letter, or C{after} if there is none, and the
            ids that those of this group had in the stream.
        """
        await self.connection.when_ready()
        letters = await self._explained("XRANGE", self._letters.read(after))
        ours = [place_of(each.original) for each in letters if each.group == self.group and is_entry_id(each.original)]
        return letters[-1].id if letters else after, ours

    @property
    def _letters(self) -> DeadLetters:
        return DeadLetters(self.connection, self.stream)

    async def _ask(self, command: str, *arguments: Argument) -> Any:
        await self.connection.when_ready()
        return await self._explained(command, self.connection.call(command, *arguments))

    async def _explained(self, command: str, reply: Deferred[T]) -> T:
        """Return a reply, or say why Redis refused the command."""
        try:
            return await reply
        except (ErrorReply, UnclearReply) as error:  # nothing here writes
            raise Refused(explain(self.stream, command, error.reply, RIGHTS)) from None


def _find_group(rows: Any, name: str) -> tuple[int, int] | None:
    """Return the id that was last delivered to a group; C{None} if there is no such group."""
    for row in rows:
        about = dict(zip(row[::2], row[1::2]))
        if about[b"name"] == name.encode():
            return place_of(about[b"last-delivered-id"].decode())
    return None
