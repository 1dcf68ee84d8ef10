"""
Percentiles of what happened between two states of a histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from eventsvc.heartbeat import Spread


def subtract(now: Spread, before: Spread | None) -> Spread:
    """Return what was counted since an earlier state; all of it if there is none with the same bounds."""
    if before is None or tuple(before.bounds) != tuple(now.bounds):
        return now
    return Spread(now.bounds, [max(0, new - old) for new, old in zip(now.counts, before.counts, strict=True)])


def merge(spreads: Sequence[Spread]) -> Spread | None:
    """Return the sum of spreads that have the bounds of the first; C{None} of none."""
    if not spreads:
        return None
    bounds = tuple(spreads[0].bounds)
    same = [spread.counts for spread in spreads if tuple(spread.bounds) == bounds]
    return Spread(bounds, [sum(column) for column in zip(*same, strict=True)])


def percentile(spread: Spread | None, share: float) -> float | None:
    """
    Return the value below which this share of the values is, as far as the bounds tell.

    @return: C{None} if there are fewer than 1 / (1 - C{share}) values; the last bound if it is above that.
    """
    if spread is None:
        return None
    total = sum(spread.counts)
    if total * (1 - share) < 1 - 1e-9:
        return None
    wanted = share * total
    least = 0.0
    for bound, count, reached in zip(spread.bounds, spread.counts, accumulate(spread.counts)):
        if reached >= wanted and count:
            return least + (bound - least) * (1 - (reached - wanted) / count)
        least = bound
    return least
