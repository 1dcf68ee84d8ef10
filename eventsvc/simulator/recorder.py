"""
What came of all attempts, as a whole and over time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import attrs

from eventsvc.outcome import Outcome
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.saved_run import Interval

#: The most intervals that are kept; when there are more, pairs become one.
MOST_INTERVALS: Final = 600
#: The name of an arrival that was not posted.
DROPPED: Final = "dropped"


@attrs.define
class _Open:
    """An interval that has not ended."""

    counts: Counter[str] = attrs.field(factory=Counter)
    latency: Latencies = attrs.field(factory=Latencies)

    def close(self) -> Interval:
        return Interval(**self.counts, latency=self.latency.encode() if self.latency.count else "")


@attrs.define
class Recorder:
    """
    Records attempts.  Its memory does not grow with their number, nor with time.

    A refused request has no latency: a quick refusal is no quick answer.  One
    without an answer has the time until it was given up.

    @ivar start: when the first arrival could be.
    @ivar step: seconds of each interval.
    """

    start: float
    step: float = 1.0
    latency: Latencies = attrs.field(factory=Latencies, init=False)
    service: Latencies = attrs.field(factory=Latencies, init=False)
    requests: int = attrs.field(default=0, init=False)
    _closed: list[Interval] = attrs.field(factory=list, init=False)
    _open: _Open = attrs.field(factory=_Open, init=False)

    def record(self, attempt: Attempt) -> None:
        """Record an attempt; they come in the order of their ends."""
        self._advance(attempt.ended)
        self._open.counts[attempt.outcome.value if attempt.outcome else DROPPED] += attempt.events
        if attempt.outcome is None:
            return
        self.requests += 1
        if attempt.outcome is not Outcome.REFUSED:
            late = attempt.ended - attempt.intended
            self.latency.record(late)
            self._open.latency.record(late)
            self.service.record(attempt.ended - attempt.sent)

    def _advance(self, now: float) -> None:
        """Close the intervals that have ended."""
        while now - self.start >= (len(self._closed) + 1) * self.step:
            self._closed.append(self._open.close())
            self._open = _Open()
            if len(self._closed) >= MOST_INTERVALS:
                pairs = zip_longest(self._closed[::2], self._closed[1::2])
                self._closed = [merge_intervals([each for each in pair if each]) for pair in pairs]
                self.step *= 2

    def intervals(self) -> Sequence[Interval]:
        """Return all intervals, the last of which has not ended."""
        return [*self._closed, self._open.close()]

    def latest(self) -> Latencies:
        """Return the latencies of the last intervals: of one to two of them."""
        latest = Latencies()
        latest.merge(self._open.latency)
        if self._closed:
            latest.merge(Latencies.decode(self._closed[-1].latency))
        return latest


def merge_intervals(intervals: Sequence[Interval]) -> Interval:
    """Return intervals as one."""
    latency = Latencies()
    for each in intervals:
        latency.merge(Latencies.decode(each.latency))
    return Interval(
        ok=sum(each.ok for each in intervals),
        refused=sum(each.refused for each in intervals),
        unknown=sum(each.unknown for each in intervals),
        dropped=sum(each.dropped for each in intervals),
        latency=latency.encode() if latency.count else "",
    )
