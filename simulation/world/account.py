"""
What may be lost or repeated because of the faults of a run.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs

from eventsvc.testing.history import Cause
from simulation.servers.history import Position

#: Seconds after a fault within which it still makes events be handled again.
_AFTER: Final = 15.0


@attrs.frozen
class Rollback:
    """
    Redis has gone back to an earlier state.

    @ivar at: when.
    @ivar since: when the first write was done that is gone.
    @ivar before: the state from before; what its server still writes is gone too.
    @ivar after: what took its place.
    @ivar promotes: whether another server has taken over; else the same one has started again with less.
    """

    at: float
    since: float
    before: Position
    after: Position
    promotes: bool

    def loses(self, position: Position) -> bool:
        """Return whether a write is gone."""
        return self.before.history.contains(position) and not self.after.has(position)


@attrs.define(eq=False)
class Account:
    """
    Keeps account of one run.

    @ivar causes: reasons why events may have been handled again.
    @ivar rollbacks: in their order.
    @ivar held: states that replicas have had.
    @ivar faults: when each began and ended.
    @ivar last: when the last fault ended.
    """

    world: Any
    causes: list[Cause] = attrs.field(factory=list, init=False)
    rollbacks: list[Rollback] = attrs.field(factory=list, init=False)
    held: list[Position] = attrs.field(factory=list, init=False)
    faults: list[tuple[float, float]] = attrs.field(factory=list, init=False)
    last: float = attrs.field(default=0.0, init=False)

    def cause(
        self, kind: Literal["ended", "takeover", "anew"], begin: float, end: float, consumer: str | None = None
    ) -> None:
        """Record that events may be handled again."""
        self.causes.append(Cause(kind, begin, end, consumer))

    def disturbed(self, begin: float, end: float) -> None:
        """Record a time in which a consumer may not have reached Redis: others may have taken its events over."""
        self.cause("takeover", begin, end + _AFTER)

    def rolled_back(self, since: float, before: Position, after: Position, promotes: bool) -> None:
        """Record that Redis goes back now."""
        now = self.world.timeline.now
        self.rollbacks.append(Rollback(now, since, before, after, promotes))
        self.cause("anew", since, now + _AFTER)

    def calm_after(self, moment: float, within: float) -> float:
        """Return the end of the faults that are open at a moment, or that follow each within so many seconds."""
        for begin, end in sorted(self.faults):
            if begin <= moment + within:
                moment = max(moment, end)
        return moment

    def disturbed_since(self, moment: float, within: float) -> float:
        """Return the begin of the faults that are open at a moment, or that have ended within so many seconds."""
        for begin, end in sorted(self.faults, key=lambda fault: -fault[1]):
            if begin <= moment <= end + within:
                moment = begin
        return moment
