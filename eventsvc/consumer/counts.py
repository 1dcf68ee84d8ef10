"""
The counters of a consumer.
"""

from __future__ import annotations

from typing import Final

import attrs

from eventsvc.histogram import Histogram
from eventsvc.interfaces import Refused, Unknown

_SECONDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
_SHORT_AGES: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_AGES: Final = (*_SHORT_AGES, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)
_DELIVERIES: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 100.0)


@attrs.define(kw_only=True)
class ConsumerCounts:
    """
    What a consumer has done, in entries; the numbers only grow.

    @ivar failed: failed deliveries; of these, C{timed_out} took too long.
    @ivar handler_seconds: how long the handler took, for each event or batch it
        was called with; plain calls in a row count as one.
    @ivar deliveries: deliveries of each event that was handled.
    @ivar ages: seconds from the time of an entry's id until it was handled, of a sample of the events.
    """

    handled: int = 0
    failed: int = 0
    timed_out: int = 0
    redelivered: int = 0
    passed_over: int = 0
    dead: int = 0
    handler_seconds: Histogram = attrs.field(factory=lambda: Histogram(_SECONDS))
    deliveries: Histogram = attrs.field(factory=lambda: Histogram(_DELIVERIES))
    ages: Histogram = attrs.field(factory=lambda: Histogram(_AGES))


def reason_of(error: Exception) -> str:
    """Return the reason a failure is counted under: the code of Redis' error, if it is one."""
    match error:
        case Refused():
            return str(getattr(error, "code", error.reason))
        case Unknown():
            return "unknown"
        case _:
            return "unexpected"
