"""
All that a dashboard knows of a stream at a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from eventsvc.dashboard.alarms import Alarm
from eventsvc.dashboard.point import STEP, Point
from eventsvc.dashboard.rates import Rates
from eventsvc.heartbeat import Heartbeat, SeenHeartbeat
from eventsvc.measures import Measures
from eventsvc.stream_state import StreamState


@attrs.frozen(kw_only=True)
class Overview:
    """
    A stream at a moment.

    @ivar state: C{None} before Redis has answered for the first time.
    @ivar problem: why this is not new, or not complete; empty if all is well.
    @ivar earlier: a heartbeat of each process some seconds before, by id.
    """

    stream: str
    state: StreamState | None = None
    processes: Sequence[SeenHeartbeat] = ()
    earlier: Mapping[str, Heartbeat] = {}
    rates: Rates = attrs.field(factory=Rates)
    alarms: Sequence[Alarm] = ()
    problem: str = ""

    @property
    def measures(self) -> Measures:
        """How far the group is behind that is behind most."""
        groups = self.state.groups if self.state else ()
        return max((group.measures for group in groups), key=lambda each: each.age or 0.0, default=Measures())


def to_point(state: StreamState, rates: Rates, overview: Overview) -> Point:
    """Return the figures of a moment for the charts."""
    measures = overview.measures
    return Point(
        number=int(state.now // STEP),
        accepted=rates.accepted,
        refused=rates.refused,
        handled=rates.handled,
        append_p50=rates.append_p50,
        append_p99=rates.append_p99,
        age_p50=rates.age_p50,
        age_p99=rates.age_p99,
        unread_age=measures.unread_age,
        pending=measures.pending,
        dead=state.dead,
    )
