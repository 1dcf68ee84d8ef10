"""
Lets a clock run.
"""

from __future__ import annotations

from twisted.internet.task import Clock


def run_clock(clock: Clock, seconds: float) -> None:
    """Let time pass, from one timer to the next."""
    end = clock.seconds() + seconds
    while calls := [call.getTime() for call in clock.getDelayedCalls() if call.getTime() <= end]:
        clock.advance(max(0.0, min(calls) - clock.seconds()))
    clock.advance(end - clock.seconds())
