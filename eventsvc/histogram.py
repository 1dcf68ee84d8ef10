"""
Counts of values by their size: what a distribution is drawn from.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs


@attrs.define
class Histogram:
    """
    Counts values up to each of some bounds, and those past the last.

    @ivar bounds: in ascending order; a value on a bound is within it.
    @ivar counts: one for each bound, and one more.
    @ivar total: the sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = attrs.field(init=False)
    total: float = attrs.field(default=0.0, init=False)

    @counts.default
    def _none_yet(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
