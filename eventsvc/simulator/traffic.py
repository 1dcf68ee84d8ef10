"""
Simulated traffic: the arrival times and the texts of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def arrivals(rate: float, random: Random) -> Iterator[float]:
    """
    Yield the arrival times of a Poisson process, in seconds from its start.

    @param rate: mean events per second.
    """
    time = 0.0
    while True:
        time += random.expovariate(rate)
        yield time


def describe(number: int, random: Random) -> str:
    """Return the description of the event with this number."""
    subject = random.choice(("door", "lamp", "pump", "valve", "sensor"))
    state = random.choice(("opened", "closed", "started", "stopped", "failed"))
    return f"{subject} {random.randint(1, 99)} {state} ({number})"
