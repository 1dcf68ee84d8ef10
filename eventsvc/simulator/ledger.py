"""
The account of the events that were answered 200: stored, handled, set aside, lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import takewhile
from typing import Final

import attrs

#: Seconds for which an entry is kept that belongs to no event that was answered.
#: An answer takes less, or the request is given up.
_HORIZON: Final = 30.0

#: The id of an entry as numbers, so that they compare as Redis compares them.
EntryId = tuple[int, int]


@attrs.define
class _Stranger:
    """An entry whose event was not answered yet, or is not ours."""

    since: float
    done: float | None = None
    dead: bool = False


@attrs.define
class Ledger:
    """
    Matches the ids of answers with the entries of the stream.  Either may come first.

    What is done with an event is known when the frontier has passed it: the first
    entry that the group has not acknowledged.  So one event that is retried
    delays the count of those behind it, but never changes it.

    @ivar record: called with the seconds from the time at which an event was to be
        posted to the time at which it was known to be handled.
    @ivar trimmed: whether entries may have been trimmed before they were seen.
    """

    record: Callable[[float], None] = lambda _: None
    accepted: int = attrs.field(default=0, init=False)
    handled: int = attrs.field(default=0, init=False)
    set_aside: int = attrs.field(default=0, init=False)
    trimmed: bool = attrs.field(default=False, init=False)
    #: the events that are not seen, and those that are not done, by id: when each was to be posted
    _unseen: dict[int, float] = attrs.field(factory=dict, init=False)
    _stored: dict[int, float] = attrs.field(factory=dict, init=False)
    _strangers: dict[int, _Stranger] = attrs.field(factory=dict, init=False)
    #: entries beyond the frontier, in the order of the stream
    _line: deque[tuple[EntryId, int]] = attrs.field(factory=deque, init=False)

    @property
    def unseen(self) -> int:
        """Events that are in no entry that was seen."""
        return len(self._unseen)

    @property
    def stored(self) -> int:
        return self.accepted - self.unseen

    @property
    def unhandled(self) -> int:
        """Events that are stored, and neither handled nor set aside."""
        return len(self._stored)

    def accept(self, event: int, intended: float) -> None:
        """Take the id of an event that was answered 200."""
        self.accepted += 1
        stranger = self._strangers.pop(event, None)
        if stranger is None:
            self._unseen[event] = intended
        elif stranger.done is None:
            self._stored[event] = intended
        else:
            self._finish(intended, stranger.done, stranger.dead)

    def see(self, entry: EntryId, event: int, now: float) -> None:
        """Take the next entry of the stream."""
        intended = self._unseen.pop(event, None)
        if intended is not None:
            self._stored[event] = intended
        elif event not in self._stored:
            self._strangers[event] = _Stranger(now)
        self._line.append((entry, event))

    def advance(self, frontier: EntryId, dead: Collection[EntryId], now: float) -> None:
        """
        Take the first entry that is not acknowledged.

        @param dead: entries that were set aside.
        """
        while self._line and self._line[0][0] < frontier:
            entry, event = self._line.popleft()
            intended = self._stored.pop(event, None)
            if intended is not None:
                self._finish(intended, now, entry in dead)
            elif event in self._strangers:
                self._strangers[event].done, self._strangers[event].dead = now, entry in dead
        self._forget(now)

    def start_again(self) -> None:
        """Take the stream from its beginning, because Redis has gone back in time."""
        self._line.clear()
        self._strangers.clear()
        self._unseen |= self._stored
        self._stored.clear()

    def _finish(self, intended: float, now: float, dead: bool) -> None:
        if dead:
            self.set_aside += 1
        else:
            self.handled += 1
            self.record(now - intended)

    def _forget(self, now: float) -> None:
        old = takewhile(lambda each: each[1].since <= now - _HORIZON, self._strangers.items())
        for event, _ in list(old):
            del self._strangers[event]
