"""
Lets a clock run.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock


class StrictClock(Clock):
    """A clock that refuses a timer in the past, as reactors do."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> IDelayedCall:
        assert delay >= 0.0, delay
        return super().callLater(delay, *args, **kw)


def run_clock(clock: Clock, seconds: float) -> None:
    """Let time pass, from one timer to the next."""
    end = clock.seconds() + seconds
    while calls := [call.getTime() for call in clock.getDelayedCalls() if call.getTime() <= end]:
        clock.advance(max(0.0, min(calls) - clock.seconds()))
    clock.advance(end - clock.seconds())
