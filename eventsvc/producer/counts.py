"""
Counts the results of an appender, as plain numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from operator import eq
from typing import Final

import attrs

from eventsvc.histogram import Histogram
from eventsvc.interfaces import Refused, Unknown
from eventsvc.producer.sequence import find_result
from eventsvc.submission import AppendReply, BatchOutcome, Result, Submission

#: Upper bounds of the histogram buckets, in seconds and in events.
_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@attrs.define(kw_only=True)
class ProducerCounts:
    """The results of an appender since its start, in events unless stated otherwise."""

    accepted: int = 0
    repeated: int = 0
    refused: Counter[str] = attrs.field(factory=Counter)
    unknown: int = 0
    #: confirmed to be in the stream
    appended: int = 0
    #: batches
    batches: int = 0
    duplicates_resolved: int = 0
    #: events that the log had forgotten, and that are stored again
    restored: int = 0
    #: times that the log had forgotten events which were not retained, and how many events
    lost: int = 0
    lost_events: int = 0
    #: per batch: its events, seconds from its first attempt to its answer, and
    #: seconds its oldest request waited
    batch_events: Histogram = attrs.field(factory=partial(Histogram, _EVENTS))
    append_seconds: Histogram = attrs.field(factory=partial(Histogram, _SECONDS))
    wait_seconds: Histogram = attrs.field(factory=partial(Histogram, _SECONDS))

    def count(self, submission: Submission, result: Result) -> None:
        """Count the result of a request."""
        if result is submission.ids:  # nearly all
            self.accepted += len(result)
            return
        events = len(submission.ids)
        match result:
            case Refused():
                self.refused[result.reason] += events
            case Unknown():
                self.unknown += events
            case tuple():
                own = count_own(submission, result)
                self.accepted += own
                self.repeated += len(result) - own

    def observe(self, sent: Sequence[Submission], events: int, reply: AppendReply, took: float, waited: float) -> None:
        """
        Count an answered batch.

        @param sent: the submissions in the attempt that was answered.
        @param events: how many they have.
        @param took: seconds from the first attempt to the answer.
        @param waited: seconds from the arrival of its oldest request to the answer.
        """
        self.batches += 1
        if reply.outcome is BatchOutcome.DUPLICATE:
            self.duplicates_resolved += 1
        self.batch_events.observe(events)
        self.append_seconds.observe(took)
        self.wait_seconds.observe(waited)
        if reply.outcome in (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE):
            self.appended += events
            if reply.earlier or reply.no_room:
                self.appended -= sum(len(each.ids) - count_own(each, find_result(each, reply)) for each in sent)


def count_own(submission: Submission, result: Result) -> int:
    """Return how many events of a request were stored by itself, not by an earlier one."""
    return 0 if isinstance(result, Exception) else sum(map(eq, submission.ids, result))
