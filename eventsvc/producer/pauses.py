"""
The pauses between attempts of one operation on the log.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.interfaces import IEventLog

#: Seconds between attempts, first and longest.
_FIRST: Final = 0.01
_LONGEST: Final = 0.5


@attrs.define(eq=False)
class Pauses:
    """Each pause is twice as long as the one before, up to half a second."""

    event_log: IEventLog
    clock: IReactorTime
    _next: float = _FIRST

    async def wait(self) -> None:
        """Pause, then wait until the log is connected."""
        await deferLater(self.clock, self._next)
        self._next = min(self._next * 2, _LONGEST)
        await self.event_log.when_ready()
