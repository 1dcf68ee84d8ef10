"""
Measures how far a group is behind.
"""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.interfaces import IEventGroup, Measures


@attrs.define(eq=False)
class Lag:
    """
    Measures a stream and its group, and keeps the last result.

    @ivar lifetime: seconds after which a result is too old to be reported.
    """

    group: IEventGroup
    clock: IReactorTime
    lifetime: float
    _measures: Measures | None = attrs.field(default=None, init=False)
    _taken: float = attrs.field(default=0.0, init=False)

    async def measure(self) -> None:
        """Measure, and keep the result."""
        self._measures = await self.group.measure()
        self._taken = self.clock.seconds()

    def latest(self) -> Measures | None:
        """Return the last result, unless it is too old."""
        return self._measures if self.clock.seconds() - self._taken <= self.lifetime else None
