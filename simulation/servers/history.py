"""
What a primary has written, in order: its replicas and its file are positions in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs


@attrs.define(eq=False)
class History:
    """
    The writes since a server became a primary, and before that those of another history.

    It stands for a replication id of Redis.  An offset counts writes, from the very first one.

    @ivar parent: where it goes on from the offset C{base}.
    @ivar times: when each write was done, in seconds of the one clock.
    """

    id: str
    parent: History | None = None
    base: int = 0
    times: list[float] = attrs.field(factory=list)
    effects: list[Any] = attrs.field(factory=list)

    @property
    def end(self) -> int:
        """The offset of the last write."""
        return self.base + len(self.times)

    def append(self, at: float, effect: Any) -> int:
        """Add a write, and return its offset."""
        self.times.append(at)
        self.effects.append(effect)
        return self.base + len(self.times)

    def at(self, moment: float) -> int:
        """Return the offset that it had reached at a moment; C{base} before its begin."""
        return self.base + bisect_right(self.times, moment)

    def time(self, offset: int) -> float:
        """Return when a write was done; 0 before the first one."""
        if offset > self.base:
            return self.times[offset - self.base - 1]
        return 0.0 if self.parent is None else self.parent.time(offset)

    def between(self, after: int, until: int) -> Iterator[Any]:
        """Yield the writes after an offset, up to another one."""
        if self.parent is not None and after < self.base:
            yield from self.parent.between(after, min(until, self.base))
        yield from self.effects[max(0, after - self.base) : max(0, until - self.base)]

    def contains(self, position: Position) -> bool:
        """Return whether it goes on from a position, or goes through it."""
        return Position(self, self.end).has(position)


class Position(NamedTuple):
    """A state: all writes of a history up to an offset."""

    history: History
    offset: int

    def has(self, other: Position) -> bool:
        """Return whether it has all writes of another state."""
        return any(other.history is history and other.offset <= limit for history, limit in self.limits())

    def limits(self) -> Iterator[tuple[History, int]]:
        """Yield the histories that it has gone through, the last first, and how far in each."""
        history: History | None = self.history
        limit = self.offset
        while history is not None:
            yield history, limit
            limit = min(limit, history.base)
            history = history.parent


def fork(position: Position, id: str) -> History:
    """Return the history of a server that becomes a primary in a state."""
    return History(id, position.history, position.offset)
