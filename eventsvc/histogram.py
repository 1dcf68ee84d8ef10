"""
Counts of values by size, for distributions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs


@attrs.define
class Histogram:
    """
    Counts values in the ranges between given bounds.

    @ivar bounds: the upper bounds, inclusive, in ascending order.
    @ivar counts: one count for each bound, and one for the values above the last.
    @ivar total: the sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = attrs.field(init=False)
    total: float = attrs.field(default=0.0, init=False)

    @counts.default
    def _none_yet(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
