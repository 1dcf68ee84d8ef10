"""
Keeps the events of one key in order while several events are handled at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import attrs

from eventsvc.event import Entry


@attrs.define
class _Lane:
    """
    The entries of one key.

    @ivar turn: id of the entry that is handled now, or is to be begun next.
    """

    turn: str
    running: bool = True
    waiting: deque[Entry] = attrs.field(factory=deque)


@attrs.define(eq=False)
class KeyOrder:
    """
    Lets one entry of each key be handled at a time, in the order of the stream.

    There is a lane for each key in flight, not for each worker, so that an idle
    worker never waits for a busy key.

    @ivar waiting: number of entries that wait behind another of their key.
    """

    waiting: int = attrs.field(default=0, init=False)
    _lanes: dict[str, _Lane] = attrs.field(factory=dict, init=False)

    def admits(self, key: str, entry: Entry, joins: bool = False) -> bool:
        """
        Return whether an entry may begin; if not, it waits here until L{end} returns it.

        @param joins: whether it would begin together with the one whose turn it
            is: it may, unless others wait between the two.
        """
        lane = self._lanes.get(key)
        if lane is None or lane.turn == entry.id or (joins and not lane.waiting):
            return True
        lane.waiting.append(entry)
        self.waiting += 1
        return False

    def begin(self, key: str, id: str) -> None:
        """Note that an entry which was admitted is handled now."""
        lane = self._lanes.setdefault(key, _Lane(id))
        lane.turn, lane.running = id, True

    def put_back(self, key: str, entry: Entry) -> None:
        """Have an entry that was begun be the next of its key once that ends."""
        self._lanes[key].waiting.appendleft(entry)
        self.waiting += 1

    def end(self, key: str) -> Entry | None:
        """
        Note that no entry of a key is handled any more, and return the one that is to be begun next.

        One that was admitted and has ended at once need not have been begun.
        """
        lane = self._lanes.get(key)
        if lane is None:
            return None
        if not lane.waiting:
            del self._lanes[key]
            return None
        self.waiting -= 1
        entry = lane.waiting.popleft()
        lane.turn, lane.running = entry.id, False
        return entry

    def drop(self, ids: Collection[str]) -> tuple[Sequence[str], Sequence[Entry]]:
        """
        Drop entries that wait, or whose turn has come but that were not begun.

        Returns the ids of those that waited, and the entries that are to be
        begun instead of the others.
        """
        dropped: list[str] = []
        turns: list[Entry] = []
        for key, lane in list(self._lanes.items()):
            gone = [entry.id for entry in lane.waiting if entry.id in ids]
            if gone:
                lane.waiting = deque(entry for entry in lane.waiting if entry.id not in ids)
                self.waiting -= len(gone)
                dropped += gone
            if not lane.running and lane.turn in ids and (entry := self.end(key)) is not None:
                turns.append(entry)
        return dropped, turns
