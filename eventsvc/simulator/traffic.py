"""
Simulated traffic: the arrival times of events, and the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import attrs

from eventsvc.event import Event
from eventsvc.new_event import make_cloudevent, make_event


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
    subject, state = _choose(random)
    return f"{subject} {random.randint(1, 99)} {state} ({number})"


@attrs.frozen
class Events:
    """
    Makes events.

    @ivar form: C{PLAIN}, C{CLOUDEVENTS} or C{MIXED}.
    @ivar run: what no other run has: with it the C{source} and C{id} of each
        CloudEvent are its own.  Those of an earlier run would not be stored again.
    """

    form: str = "PLAIN"
    run: str = ""

    def make(self, number: int, random: Random) -> Event:
        """Return the event with this number."""
        if self.form == "CLOUDEVENTS" or (self.form == "MIXED" and number % 10 == 5):
            return self._make_cloudevent(number, random)
        if self.form == "MIXED" and number % 3 == 1:
            return self._make_full(number, random)
        return Event(describe(number, random))

    def _make_cloudevent(self, number: int, random: Random) -> Event:
        kind, state = _choose(random)
        subject = f"{kind} {random.randint(1, 99)}"
        return make_cloudevent(
            source=f"/simulator/{self.run}",
            id=f"{number}",
            type=f"{kind}.{state}",
            subject=subject,
            partitionkey=subject,
            data={"number": number},
        )

    def _make_full(self, number: int, random: Random) -> Event:
        kind, state = _choose(random)
        key = f"{kind} {random.randint(1, 99)}"
        return make_event(f"{key} {state} ({number})", type=f"{kind}.{state}", key=key, data={"number": number})


def _choose(random: Random) -> tuple[str, str]:
    """Return a kind of device, and what happened to it."""
    kind = random.choice(("door", "lamp", "pump", "valve", "sensor"))
    return kind, random.choice(("opened", "closed", "started", "stopped", "failed"))
