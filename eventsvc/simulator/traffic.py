"""
Simulated traffic: the arrival times of requests, and their events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import attrs

from eventsvc.event import Event
from eventsvc.new_event import make_cloudevent, make_event

#: How arrivals are spread over time.
PATTERNS: Final = ("POISSON", "CONSTANT", "BURST")


def arrivals(rate: float, random: Random, pattern: str = "POISSON") -> Iterator[float]:
    """
    Yield the arrival times of requests, in seconds from the start.

    @param rate: mean requests per second.
    @param pattern: C{POISSON}: at random, like those of many independent clients.
        C{CONSTANT}: with equal gaps.  C{BURST}: those of a second all at once, at its end.
    """
    time, number = 0.0, 0
    each = max(1, round(rate)) if pattern == "BURST" else 1
    while True:
        if pattern == "POISSON":
            time += random.expovariate(rate)
        else:
            time = (number // each + 1) * each / rate
        number += 1
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
    @ivar sizes: the least and the most characters of text in the C{data} of an
        event; C{(0, 0)} for none.
    """

    form: str = "PLAIN"
    run: str = ""
    sizes: tuple[int, int] = (0, 0)

    def make(self, number: int, random: Random) -> Event:
        """Return the event with this number."""
        return self._make(number, number, random)

    def make_batch(self, first: int, count: int, random: Random) -> Sequence[Event]:
        """Return events that are posted together, from this number on: all of them are CloudEvents, or none."""
        turn = first // count + 1 if count > 1 else first
        return [self._make(number, turn, random) for number in range(first, first + count)]

    def _make(self, number: int, turn: int, random: Random) -> Event:
        """Return an event; of mixed ones, its turn says which form it has."""
        if self.form == "CLOUDEVENTS" or (self.form == "MIXED" and turn % 10 == 5):
            return self._make_cloudevent(number, random)
        if self.form == "MIXED" and turn % 3 == 1:
            return self._make_full(number, random)
        if self.sizes[1]:
            return make_event(describe(number, random), data=self._fill(random))
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
            data=self._make_data(number, random),
        )

    def _make_full(self, number: int, random: Random) -> Event:
        kind, state = _choose(random)
        key = f"{kind} {random.randint(1, 99)}"
        data = self._make_data(number, random)
        return make_event(f"{key} {state} ({number})", type=f"{kind}.{state}", key=key, data=data)

    def _make_data(self, number: int, random: Random) -> object:
        return {"number": number} | ({"text": self._fill(random)} if self.sizes[1] else {})

    def _fill(self, random: Random) -> str:
        """Return a text that does not compress well."""
        size = random.randint(*self.sizes)
        return f"{random.getrandbits(4 * size or 1):0{size}x}"[:size]


def _choose(random: Random) -> tuple[str, str]:
    """Return a kind of device, and what happened to it."""
    kind = random.choice(("door", "lamp", "pump", "valve", "sensor"))
    return kind, random.choice(("opened", "closed", "started", "stopped", "failed"))
