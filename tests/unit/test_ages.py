"""
Tests for L{eventsvc.consumer.ages}: every event of a run counts, and a long run costs as little as a short one.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from eventsvc.consumer.ages import Ages
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.event import Entry
from eventsvc.histogram import Histogram
from tests.support.consumer_world import ConsumerWorld


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 16, 1_000, 1_001])
def test_every_event_counts_once(length: int) -> None:
    histogram = Histogram((0.5, 5.0))
    asked: list[None] = []
    ages = Ages(histogram, lambda: asked.append(None) or 10.0)  # type: ignore[func-returns-value]
    ages.observe([Entry(f"{9_000 + number % 2}-{number}", {}) for number in range(length)])
    assert sum(histogram.counts) == length
    assert histogram.counts[1] == length
    assert len(asked) == 1


def test_an_age_is_never_negative() -> None:
    """The clock of Redis may be ahead."""
    histogram = Histogram((0.5,))
    Ages(histogram, lambda: 1.0).observe([Entry("9000-0", {})])
    assert (histogram.counts, histogram.total) == ([1, 0], 0.0)


def test_a_consumer_observes_what_it_has_handled(consuming: ConsumerWorld) -> None:
    """Not what failed, or is no event."""
    handled: list[str] = []
    consumer = consuming.consumer()
    consumer.in_flight._open.on_handled = lambda run: handled.extend(entry.id for entry in run)
    consuming.add("a", "b")
    consuming.stream.add({b"no": b"event"})
    consuming.run(1.0)
    assert len(handled) == consumer.in_flight.counts.handled == 2


def test_an_age_is_known_to_a_factor_of_two_and_a_half() -> None:
    """A percentile is a guess within its bounds: after an outage of a minute it must not tell of five."""
    bounds = ConsumerCounts().ages.bounds
    assert max(after / before for before, after in pairwise(bounds)) <= 2.5
    assert bounds[-1] == 3600
