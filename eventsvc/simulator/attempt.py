"""
One arrival, and what became of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eventsvc.outcome import Outcome


@attrs.frozen
class Attempt:
    """
    A request that was answered or given up, or that was not made.

    @ivar intended: when it was to be made.
    @ivar sent: when it was made.
    @ivar ended: when its outcome was known.
    @ivar outcome: C{None} if it was dropped, because too many others were in flight.
    @ivar events: number of its events.
    @ivar ids: the ids of the events that are stored.
    """

    intended: float
    sent: float
    ended: float
    outcome: Outcome | None
    events: int
    ids: Sequence[int] = ()
