"""
Runs fake clocks.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock


class StrictClock(Clock):
    """A clock that rejects a negative delay, as reactors do."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> IDelayedCall:
        assert delay >= 0.0, delay
        return super().callLater(delay, *args, **kw)


def run_clock(clock: Clock, seconds: float) -> None:
    """Advance the clock from one timer to the next."""
    end = clock.seconds() + seconds
    while calls := [call.getTime() for call in clock.getDelayedCalls() if call.getTime() <= end]:
        clock.advance(max(0.0, min(calls) - clock.seconds()))
    clock.advance(end - clock.seconds())
