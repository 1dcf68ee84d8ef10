"""
The pauses between attempts of one operation on the log.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.interfaces import IEventLog

#: Seconds between attempts, first and longest.
_FIRST: Final = 0.01
_LONGEST: Final = 0.5


async def pause(event_log: IEventLog, clock: IReactorTime, attempts: int) -> None:
    """Pause after so many attempts, twice as long as after the one before, then wait until the log is connected."""
    await deferLater(clock, min(_FIRST * 2 ** min(attempts - 1, 10), _LONGEST))
    await event_log.when_ready()
