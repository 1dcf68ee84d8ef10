"""
Tests for the slices of L{eventsvc.consumer.in_flight}: plain handlers leave time
for the reactor.
"""

from __future__ import annotations

from itertools import pairwise

from eventsvc.event import Notification
from eventsvc.testing import MemoryEventGroup
from tests.support.consumer_world import ConsumerWorld, eager


def test_plain_handlers_have_the_reactor_for_a_slice_at_a_time(consuming: ConsumerWorld) -> None:
    """Between two slices, handled events are acknowledged and the reactor runs."""
    unacknowledged: list[int] = []
    turns: list[float] = []

    def handler(notification: Notification) -> None:
        unacknowledged.append(len([place for place in consuming.pending if place <= len(consuming.seen)]))
        consuming.see(notification)
        consuming.clock.rightNow += 0.01

    def turn() -> None:
        turns.append(consuming.clock.seconds())
        if len(consuming.seen) < 1_000:
            consuming.clock.callLater(0.02, turn)

    consumer = consuming.consumer(handler)
    slices: list[int] = []
    acknowledge = consumer.in_flight.acknowledge_early

    def acknowledge_early() -> None:
        slices.append(len(consuming.seen))
        acknowledge()

    consumer.in_flight.acknowledge_early = acknowledge_early
    consuming.add(*[f"{number}" for number in range(1_000)])
    turn()
    consuming.run(60.0)
    assert 150 <= len(slices) <= 250
    assert consuming.seen == [f"{number}" for number in range(1_000)]
    assert max(after - before for before, after in pairwise(turns)) < 0.08
    # The slice itself, and the one before, whose acknowledgement may be on its way.
    assert max(unacknowledged) <= 15


def test_each_event_longer_than_a_slice_is_followed_by_a_turn(consuming: ConsumerWorld) -> None:
    turns: list[int] = []

    def handler(notification: Notification) -> None:
        consuming.see(notification)
        consuming.clock.rightNow += 0.06

    def turn() -> None:
        turns.append(len(consuming.seen))
        if len(consuming.seen) < 8:
            consuming.clock.callLater(0.001, turn)

    eager(consuming.consumer(handler))
    turn()
    consuming.add(*"abcdefgh")
    consuming.run(10.0)
    assert set(turns) == set(range(9))


def test_a_stop_ends_a_line_of_plain_handlers_after_the_slice(consuming: ConsumerWorld) -> None:
    def handler(notification: Notification) -> None:
        consuming.see(notification)
        consuming.clock.rightNow += 0.06
        if len(consuming.seen) == 10:
            consuming.clock.callLater(0, consuming.stop, consumer)

    consumer = eager(consuming.consumer(handler, name="first"))
    consuming.add(*[f"{number}" for number in range(100)])
    consuming.run(30.0)
    assert len(consuming.seen) == 10
    assert consuming.pending == list(range(11, 101))  # all that was handled is acknowledged


def test_a_connection_that_is_lost_during_a_slice_stops_nothing(consuming: ConsumerWorld) -> None:
    def handler(notification: Notification) -> None:
        consuming.see(notification)
        consuming.clock.rightNow += 0.02
        if len(consuming.seen) % 10 == 0:
            group = consumer.group
            assert isinstance(group, MemoryEventGroup)
            if group.link.connected:
                group.link.cut()

    consuming.add(*[f"{number}" for number in range(100)])
    consumer = eager(consuming.consumer(handler))
    consuming.run(60.0)
    assert list(dict.fromkeys(consuming.seen)) == [f"{number}" for number in range(100)]
    assert len(consuming.seen) == 100  # an acknowledgement that was lost is sent again
    assert consuming.pending == []
