"""
What may be lost or repeated because of the faults of a run.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs

from eventsvc.testing.history import Cause

#: Seconds after a fault within which it still makes events be handled again.
_AFTER: Final = 15.0


@attrs.frozen
class Rollback:
    """
    Redis has gone back to an earlier state.

    @ivar at: when.
    @ivar since: when the first write was done that is gone.
    @ivar everything: whether nothing is left.
    """

    at: float
    since: float
    everything: bool = False


@attrs.define(eq=False)
class Account:
    """
    Keeps account of one run.

    @ivar causes: reasons why events may have been handled again.
    @ivar rollbacks: in their order.
    @ivar promotions: when a replica became the primary.
    @ivar last: when the last fault ended.
    """

    world: Any
    causes: list[Cause] = attrs.field(factory=list, init=False)
    rollbacks: list[Rollback] = attrs.field(factory=list, init=False)
    promotions: list[float] = attrs.field(factory=list, init=False)
    last: float = attrs.field(default=0.0, init=False)

    def cause(
        self, kind: Literal["ended", "takeover", "anew"], begin: float, end: float, consumer: str | None = None
    ) -> None:
        """Record that events may be handled again."""
        self.causes.append(Cause(kind, begin, end, consumer))

    def disturbed(self, begin: float, end: float) -> None:
        """Record a time in which a consumer may not have reached Redis: others may have taken its events over."""
        self.cause("takeover", begin, end + _AFTER)

    def rolled_back(self, since: float, everything: bool = False) -> None:
        """Record that Redis goes back now."""
        now = self.world.timeline.now
        self.rollbacks.append(Rollback(now, since, everything))
        self.cause("anew", since, now + _AFTER)
