"""
What clients felt of a run: how long events took to be stored, and how long no
event was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf

from eventsvc.outcome import Outcome
from eventsvc.testing.history import Op


def waits(ops: Sequence[Op]) -> Mapping[str, float]:
    """
    Return how long the client of each event waited, by description.

    @return: seconds from its first attempt to its first 200; infinite if there was none.
    """
    begun: dict[str, float] = {}
    stored: dict[str, float] = {}
    for op in ops:
        begun[op.description] = min(op.invoked, begun.get(op.description, inf))
        if op.outcome is Outcome.OK and op.ended is not None:
            stored[op.description] = min(op.ended, stored.get(op.description, inf))
    return {description: stored.get(description, inf) - begin for description, begin in begun.items()}


def pauses(ops: Sequence[Op], moments: Sequence[float]) -> Sequence[float]:
    """
    Return the longest time without a 200 after each moment and before the next one, in seconds.

    @param moments: when something was broken, in ascending order.
    """
    ends = sorted(op.ended for op in ops if op.outcome is Outcome.OK and op.ended is not None)
    found = []
    for begin, end in pairwise([*moments, inf]):
        marks = [begin, *(each for each in ends if begin < each < end)]
        later = next((each for each in ends if each >= end), None)
        if later is not None:
            marks.append(later)
        found.append(max((after - before for before, after in pairwise(marks)), default=inf))
    return found
