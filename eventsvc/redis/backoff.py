"""
How long to wait between connection attempts.
"""

from __future__ import annotations

from collections.abc import Callable


def backoff(attempt: int, longest: float, jitter: Callable[[], float]) -> float:
    """
    Return the seconds to wait before a connection attempt; the first is 1.

    The pause grows by a twentieth with each attempt, so that the end of an
    outage of t seconds is noticed within about t/20.

    @param jitter: a number from 0 to 1; the pause grows by up to a tenth with it.
    """
    pause = 0.05 * 1.05 ** min(attempt - 1, 1_000)
    return min(pause, longest / 1.1) * (1 + 0.1 * jitter())
