"""
The data of one server, computed when somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from simulation.redis.keyspace import Keyspace
from simulation.servers.history import History, Position


@attrs.define(eq=False)
class State:
    """
    A keyspace that is brought to positions of histories.

    A replica whose data nobody reads costs nothing: its writes are applied when it is promoted or asked.

    @ivar make: makes an empty keyspace.
    @ivar applied: the position that the keyspace has.
    """

    make: Callable[[], Keyspace]
    applied: Position
    keyspace: Keyspace = attrs.field(init=False)

    @keyspace.default
    def _make_first(self) -> Keyspace:
        return self.make()

    def bring_to(self, position: Position) -> Keyspace:
        """Return the keyspace with the writes up to a position, and no others."""
        applied, history, offset = self.applied, position.history, position.offset
        if applied.history is history and applied.offset == offset:
            return self.keyspace
        after = applied.offset
        if after > offset or not history.contains(applied):
            self.keyspace, after = self.make(), 0
        apply = self.keyspace.apply
        for effects, now in history.between(after, offset):
            apply(effects, now)
        self.applied = position
        return self.keyspace

    def wrote(self, history: History, offset: int) -> None:
        """Record that the keyspace itself has just done a write."""
        self.applied = Position(history, offset)
