"""
Reads, replays and deletes dead letters: entries that were set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from eventsvc.dead_letter import NOT_MOVED as NOT_MOVED
from eventsvc.dead_letter import DeadLetter as DeadLetter
from eventsvc.redis.connection import Connection
from eventsvc.redis.scripts import dead_letters, load_script
from eventsvc.redis.session import Argument

_REPLAY: Final = load_script("rights.lua", "replay.lua")
_PAGE: Final = load_script("dead_page.lua")

#: Seconds one call may take.
_TIMEOUT: Final = 5.0
#: A page ends with the letter that brings it to this many bytes.
PAGE_BYTES: Final = 1_000_000
#: Number of ids on a page.
_IDS: Final = 500
_FIELD: Final = b"field:"


@attrs.frozen(eq=False)
class DeadLetters:
    """
    The dead letters of a stream.

    Every operation fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.
    """

    connection: Connection
    stream: str

    def count(self) -> Deferred[int]:
        """Fire with the number of letters."""
        return self.connection.call("XLEN", dead_letters(self.stream), timeout=_TIMEOUT)

    def find_newest(self) -> Deferred[str]:
        """Fire with the id of the newest letter; empty if there is none."""
        reply = self.connection.call("XREVRANGE", dead_letters(self.stream), "+", "-", "COUNT", 1, timeout=_TIMEOUT)
        return reply.addCallback(lambda rows: rows[0][0].decode() if rows else "")

    def read(self, after: str = "", count: int = 100) -> Deferred[Sequence[DeadLetter]]:
        """
        Read a page of letters, the oldest first, with ids greater than C{after}.

        A page has at most C{count} letters, and ends early at the letter that
        brings it to L{PAGE_BYTES}.  The page after the last one is empty.
        """
        reply = self._page(after, "+", count)
        return reply.addCallback(lambda rows: [_read_letter(id, parts) for id, parts in rows])

    def list_ids(self, after: str, last: str) -> Deferred[Sequence[str]]:
        """Read a page of ids, the oldest first, greater than C{after} and not greater than C{last}."""
        return self._page(after, last, _IDS, "ids").addCallback(lambda ids: [id.decode() for id in ids])

    def _page(self, after: str, last: str, count: int, *what: str) -> Deferred[Any]:
        arguments: list[Argument] = [f"({after}" if after else "-", last, count, PAGE_BYTES, *what]
        return self.connection.run(_PAGE, [dead_letters(self.stream)], arguments, timeout=_TIMEOUT)

    def find(self, id: str) -> Deferred[DeadLetter | None]:
        """Read one letter; C{None} if it does not exist."""
        reply = self.connection.call("XRANGE", dead_letters(self.stream), id, id, timeout=_TIMEOUT)
        return reply.addCallback(lambda rows: _read_letter(*rows[0]) if rows else None)

    def replay(self, id: str) -> Deferred[str]:
        """
        Move a letter to the end of the stream, at most once.

        Fires with its new id in the stream, or with why it was not moved: a key of
        L{NOT_MOVED}.  After L{eventsvc.interfaces.Unknown} call it again: if the
        letter was moved, the answer is C{gone}.
        """
        reply = self.connection.run(_REPLAY, [self.stream, dead_letters(self.stream)], [id], timeout=_TIMEOUT)
        return reply.addCallback(bytes.decode)

    def purge(self, ids: Sequence[str]) -> Deferred[int]:
        """Delete letters, and fire with the number deleted."""
        return self.connection.call("XDEL", dead_letters(self.stream), *ids, timeout=_TIMEOUT)


def _read_letter(id: bytes, parts: Sequence[bytes]) -> DeadLetter:
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    about: dict[bytes, Any] = dict(pairs)

    def text(name: bytes) -> str:
        return str(about.get(name, b"").decode("utf-8", "backslashreplace"))

    return DeadLetter(
        id=id.decode(),
        reason=text(b"reason"),
        error=text(b"error"),
        deliveries=_read_count(about.get(b"deliveries", b"")),
        group=text(b"group"),
        consumer=text(b"consumer"),
        original=text(b"id"),
        fields=[
            (name.removeprefix(_FIELD), value) for name, value in pairs if name.startswith(_FIELD) or name == b"packed"
        ],
    )


def _read_count(text: bytes) -> int:
    """Return a number; 0 for what another program wrote instead of one."""
    return int(text) if text.isdigit() and len(text) < 16 else 0
