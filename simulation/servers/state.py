"""
The data of one server, computed when somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from simulation.servers.history import History, Position


@attrs.define(eq=False)
class State:
    """
    A keyspace that is brought to positions of histories.

    A replica whose data nobody reads costs nothing: its writes are applied when it is promoted or asked.

    @ivar make: makes an empty keyspace.
    @ivar applied: the position that the keyspace has.
    """

    make: Callable[[], Any]
    applied: Position
    keyspace: Any = attrs.field(init=False)

    @keyspace.default
    def _make_first(self) -> Any:
        return self.make()

    def bring_to(self, position: Position) -> Any:
        """Return the keyspace with the writes up to a position, and no others."""
        applied, history, offset = self.applied, position.history, position.offset
        if applied.history is history and applied.offset == offset:
            return self.keyspace
        after = applied.offset
        if after > offset or not history.contains(applied):
            self.keyspace, after = self.make(), 0
        execute = self.keyspace.execute
        for effect in history.between(after, offset):
            execute(*effect)
        self.applied = position
        return self.keyspace

    def wrote(self, history: History, offset: int) -> None:
        """Record that the keyspace itself has just done a write."""
        self.applied = Position(history, offset)
