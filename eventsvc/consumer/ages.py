"""
How old events are when they have been handled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from eventsvc.event import Entry
from eventsvc.histogram import Histogram

#: The most events of one run that are looked at.
_SAMPLE: Final = 4


@attrs.frozen(eq=False)
class Ages:
    """
    Observes ages: from the time in an entry's id, by the clock of Redis, until now, by that of this host.

    Of a run of many entries some are looked at, evenly spread, and each stands for its
    neighbours: so the cost for each event is next to nothing where events are fast.

    @ivar now: returns seconds since 1970.
    """

    histogram: Histogram
    now: Callable[[], float]

    def observe(self, run: Sequence[Entry]) -> None:
        """Observe the entries of a run that has ended now."""
        now, step = self.now(), -(-len(run) // _SAMPLE)
        for first in range(0, len(run), step or 1):
            at = int(run[first].id.partition("-")[0]) / 1000
            self.histogram.observe(max(0.0, now - at), min(step, len(run) - first))
