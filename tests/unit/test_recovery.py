"""
Tests for L{eventsvc.consumer.recovery}: pending entries are read again and claimed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.consumer.page import PAGE_BYTES, size_of
from eventsvc.event import Entry
from eventsvc.interfaces import Claimed, Unknown
from eventsvc.testing import MemoryEventGroup, MemoryStream
from tests.support.consumer_world import ConsumerWorld, eager
from tests.unit.test_consumer import link_of


class NarrowLink(MemoryEventGroup):
    """A link on which no page over a megabyte arrives."""

    def _fit(self, page: Sequence[Entry]) -> None:
        if sum(map(size_of, page)) > 2**20 and len(page) > 1:
            self.link.cut()
            raise Unknown("no reply within 2 s")

    def read_pending(self, after: str, count: int, size: int = PAGE_BYTES) -> Deferred[Sequence[Entry]]:
        def fitting(page: Sequence[Entry]) -> Sequence[Entry]:
            self._fit(page)
            return page

        return super().read_pending(after, count, size).addCallback(fitting)

    def claim(self, idle: float, cursor: str, count: int, size: int = PAGE_BYTES) -> Deferred[Claimed]:
        def fitting(page: Claimed) -> Claimed:
            self._fit(page.entries)
            return page

        return super().claim(idle, cursor, count, size).addCallback(fitting)


class TestRecovery:
    """Pending entries are found quickly, completely, and reported correctly."""

    def test_what_a_dead_consumer_left_is_claimed_at_the_speed_of_reading(self, consuming: ConsumerWorld) -> None:
        """On an idle stream, where reads wait for seconds."""
        consuming.leave_pending("dead", *[f"{number}" for number in range(2_000)])
        consumer = consuming.consumer()
        consuming.run(29.0)
        assert consuming.seen == []
        consuming.run(8.0)
        assert len(consuming.seen) == consumer.recovery.claimed == 2_000
        assert consuming.pending == []

    def test_what_becomes_idle_is_claimed_soon(self, consuming: ConsumerWorld) -> None:
        """Whatever its idle time at the start."""
        consuming.consumer(consuming.slow(0.1), concurrency=3)
        for number in range(8):
            consuming.run(4.0)
            consuming.leave_pending(f"dead {number}", f"{number}")
        for number in range(8):
            assert len(consuming.seen) <= number + 1
            consuming.run(4.0)
        consuming.run(2.0)
        assert len(consuming.seen) == 8

    def test_new_events_are_read_while_others_are_claimed(self, consuming: ConsumerWorld) -> None:
        """Claiming may take hours; only at the start all that is idle comes first."""
        consuming.consumer(consuming.slow(1.0), concurrency=3)
        consuming.run(1.0)
        consuming.leave_pending("dead", *["old"] * 1_000, idle=100.0)
        consuming.add("new")
        consuming.run(60.0)
        assert "new" in consuming.seen
        assert len(consuming.seen) < 300

    def test_a_claim_goes_on_where_it_was(self, consuming: ConsumerWorld) -> None:
        """After many entries in flight elsewhere: Redis scans only a few in each call."""
        live = consuming.consumer(consuming.slow(200.0), name="live", concurrency=600)
        consuming.add(*["busy"] * 600)
        consuming.run(20.0)
        consuming.leave_pending("dead", *"abc", idle=100.0)
        consuming.consumer(consuming.slow(0.1), name="second")
        consuming.run(15.0)
        assert consuming.seen == ["a", "b", "c"]
        assert len(live.in_flight.entries) == 600

    def test_an_own_entry_that_was_trimmed_is_told_as_lost(self, consuming: ConsumerWorld) -> None:
        """As with one of another consumer: its event is gone, even if its dead letter fails."""
        consuming.leave_pending("consumer", "a", "b", "c")
        del consuming.stream.entries[2]
        with capturedLogs() as logs:
            consumer = consuming.consumer(consuming.slow(1.0), concurrency=3)
            consuming.run(1.5)
            link_of(consumer).cut()
            consuming.run(10.0)
        assert sorted(consuming.seen) == ["a", "c"]
        assert consumer.recovery.trimmed == 1
        alarms = Counter(event["details"]["alarm"] for event in logs if "details" in event)
        assert alarms == {"trimmed_pending": 1, "dead_letter": 1}
        assert [letter["reason"] for letter in consuming.stream.dead] == ["trimmed"]

    @pytest.mark.parametrize("owner", ["consumer", "dead"])
    def test_large_entries_are_taken_up_in_pages_that_arrive(self, consuming: ConsumerWorld, owner: str) -> None:
        """Each page that does not arrive halves the next."""
        consuming.leave_pending(owner, *[f"{number}" + "x" * 250_000 for number in range(200)], idle=100.0)
        consumer = consuming.consumer(consuming.slow(0.01), concurrency=3, group_type=NarrowLink)
        most = 0
        for _ in range(120):
            consuming.run(1.0)
            most = max(most, sum(map(size_of, consumer.in_flight.entries.values())))
        assert len(consuming.seen) == 200
        assert consuming.pending == []

    @pytest.mark.parametrize("owner", ["consumer", "dead", ""])
    def test_entries_in_flight_are_bounded_by_their_bytes(self, consuming: ConsumerWorld, owner: str) -> None:
        """Own, claimed and new entries."""
        names = [f"{number:03}" + "x" * 1_000_000 for number in range(100)]
        if owner:
            consuming.leave_pending(owner, *names, idle=100.0)
        else:
            consuming.add(*names)
        consumer = consuming.consumer(consuming.slow(2.0), concurrency=100)
        most = 0
        for _ in range(300):
            consuming.run(0.1)
            most = max(most, sum(map(size_of, consumer.in_flight.entries.values())))
        assert len(consuming.seen) == 100
        assert 8e6 < most < 16 * 2**20 + 2 * PAGE_BYTES


@pytest.mark.parametrize("tenths", range(20))
def test_what_ends_while_own_entries_are_listed_is_not_handled_again(tenths: int) -> None:
    """Whenever the connection is lost, on a link so slow that handlers end before the list arrives."""
    clock = Clock()
    world = ConsumerWorld(clock, MemoryStream(clock))
    world.leave_pending("consumer", *"abcdef")
    consumer = world.consumer(world.slow(0.7), concurrency=3)
    link_of(consumer).latency = 0.25
    world.run(0.5 + tenths / 10)
    link_of(consumer).cut()
    world.run(20.0)
    assert sorted(world.seen) == [*"abcdef"]
    assert world.pending == []
    world.stop(consumer)


def test_an_outage_of_hours_is_handed_over_on_a_slow_link(consuming: ConsumerWorld) -> None:
    """All the events were tried and put back; each would cost a round trip to give its delivery back."""

    def away(_: object) -> None:
        raise OSError("away")

    consuming.add(*[f"{number}" for number in range(1_200)])
    consumer = eager(consuming.consumer(away, concurrency=50))
    consuming.run(1_500.0)
    link_of(consumer).latency = 0.05
    consuming.stop(consumer)
    pending = consuming.stream.groups["group"].pending.values()
    assert len(pending) == 1_200
    assert {row.since for row in pending} == {float("-inf")}
    assert {row.deliveries for row in pending} <= {0, 1}


@pytest.mark.parametrize("shape", ["handler", "batch"])
def test_what_a_stop_cancels_or_has_not_begun_was_never_delivered(consuming: ConsumerWorld, shape: str) -> None:
    calls: Any = {shape: lambda _: Deferred()}
    consuming.add(*"abcdef")
    consumer = consuming.consumer(**calls, batch_size=3, drain_timeout=1.0)
    eager(consumer)
    consuming.run(1.0)
    consuming.stop(consumer)
    assert [row.deliveries for row in consuming.stream.groups["group"].pending.values()] == [0] * 6
