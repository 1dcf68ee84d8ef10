"""
Limits a rate, with one comparison of integers per request.
"""

from __future__ import annotations

import attrs

#: Before any reading of a clock.
_LONG_AGO = -(1 << 62)


@attrs.define(eq=False)
class Meter:
    """
    A token bucket as one point in time, without timers (GCRA: ITU-T I.371, annex A).

    Each event pays for C{interval} nanoseconds.  A request is let in while what
    was paid for is over.  Time in which nothing was paid for is credit, for at
    most C{burst} events.  A batch larger than its credit makes a debt, so that a
    batch may be larger than the burst and the average rate still holds.

    @ivar interval: nanoseconds between two events at the full rate.
    @ivar burst: events that are let in at once after a pause.
    """

    interval: int
    burst: int
    _paid_until: int = attrs.field(default=_LONG_AGO, init=False)

    def take(self, now: int, events: int = 1) -> int:
        """
        Let a request in and charge its events, unless there is a debt.

        @param now: nanoseconds of a monotonic clock.
        @return: nanoseconds until the debt is paid; 0 if the request is let in.
        """
        if self._paid_until > now:
            return self._paid_until - now
        credit = (self.burst - 1) * self.interval
        self._paid_until = max(self._paid_until, now - credit) + events * self.interval
        return 0

    def charge(self, events: int) -> None:
        """Charge more events of a request that was let in."""
        self._paid_until += events * self.interval

    def adjust(self, now: int, other: Meter) -> None:
        """Take over interval and burst of another meter; the debt stays the same number of events."""
        self._paid_until = now + (self._paid_until - now) * other.interval // self.interval
        self.interval, self.burst = other.interval, other.burst
