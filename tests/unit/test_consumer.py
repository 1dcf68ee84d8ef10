"""
Tests for L{eventsvc.consumer.service} and L{eventsvc.consumer.in_flight}: on a fake clock, with a
group in memory whose faults the test chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs

from eventsvc.consumer.chore import Chore
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, Notification
from eventsvc.interfaces import Refused
from eventsvc.testing import Fate, Link, MemoryEventGroup, MemoryStream
from tests.support.consumer_world import ConsumerWorld, running_world


@pytest.fixture
def world() -> Iterator[ConsumerWorld]:
    with running_world() as made:
        yield made


def link_of(consumer: Consumer) -> Link:
    """Return the link of a consumer."""
    group = consumer.group
    assert isinstance(group, MemoryEventGroup)
    return group.link


def crash(consumer: Consumer, world: ConsumerWorld) -> None:
    """End a consumer as C{kill -9} does: it sends nothing more."""
    world.consumers.remove(consumer)
    link_of(consumer).disconnect()
    link_of(consumer).fates = iter(lambda: Fate.REFUSED, None)
    assert consumer._running is not None
    consumer._running.cancel()
    consumer.in_flight.cancel()


def test_events_are_handled_in_order_and_acknowledged(world: ConsumerWorld) -> None:
    world.consumer()
    world.add("a", "b", "c")
    world.run(1.0)
    assert world.seen == ["a", "b", "c"]
    world.run(10.0)
    assert world.pending == []


def test_an_event_is_not_acknowledged_before_its_handler_returned(world: ConsumerWorld) -> None:
    handling: Deferred[None] = Deferred()
    world.consumer(lambda _: handling)
    world.add("a")
    world.run(20.0)
    assert world.pending == [1]
    handling.callback(None)
    world.run(1.0)
    assert world.pending == []


def test_an_event_is_acknowledged_as_soon_as_its_handler_has_finished(world: ConsumerWorld) -> None:
    """It does not wait for a blocking read."""
    world.consumer(world.slow(0.01))
    world.run(1.5)
    for number in range(3):
        world.add(f"{number}")
        world.run(0.05)
        assert len(world.seen) == number + 1
        assert world.pending == []


def test_the_marker_is_passed_over(world: ConsumerWorld) -> None:
    world.stream.add({MARKER_FIELD: b"stream created"})
    consumer = world.consumer()
    world.add("a")
    world.run(6.0)
    assert world.seen == ["a"]
    assert world.pending == []
    assert consumer.in_flight.counts.passed_over == 1


def test_coroutines_and_deferreds_are_awaited(world: ConsumerWorld) -> None:
    async def handler(notification: Notification) -> None:
        await deferLater(world.clock, 1.0)
        world.see(notification)

    world.consumer(handler)
    world.add("a", "b")
    world.run(1.5)
    assert world.seen == ["a"]
    world.run(1.5)
    assert world.seen == ["a", "b"]


def test_no_more_than_the_concurrency_is_in_work_at_once(world: ConsumerWorld) -> None:
    working: list[Deferred[None]] = []

    def handler(_: Notification) -> Deferred[None]:
        working.append(Deferred())
        return working[-1]

    world.consumer(handler, concurrency=3)
    world.add(*"abcdef")
    world.run(1.0)
    assert len(working) == 3
    working[1].callback(None)
    world.run(1.0)
    assert len(working) == 4
    for work in working[:1] + working[2:]:
        work.callback(None)
    world.run(1.0)
    for work in working[4:]:
        work.callback(None)


def test_a_long_backlog_keeps_no_chore_waiting(world: ConsumerWorld) -> None:
    """The liveness check does not wait either, or it would fail."""
    consumer = world.consumer()
    turns: list[tuple[int, float]] = []

    async def note() -> None:
        turns.append((len(world.seen), world.clock.seconds() - consumer.last_round))

    consumer.chores.append(Chore(0.004, note))
    world.add(*[f"{number}" for number in range(20_000)])
    world.run(5.0)
    assert len(world.seen) == 20_000
    assert len([handled for handled, _ in turns if 2_000 < handled < 20_000]) >= 5
    assert max(late for _, late in turns) < 0.1


class TestFailures:
    def test_a_chore_that_is_always_refused_keeps_no_event_from_being_read(self, world: ConsumerWorld) -> None:
        """The user may have the permission to read, but not to trim."""
        consumer = world.consumer()
        consumer.chores.append(Chore(1.0, lambda: fail(Refused("NOPERM"))))
        for text in ("a", "b", "c"):
            world.add(text)
            world.run(5.0)
        assert world.seen == ["a", "b", "c"]

    """A failing handler loses nothing, and holds nothing up for ever."""

    def test_a_failed_event_is_tried_again_before_the_next(self, world: ConsumerWorld) -> None:
        def handler(notification: Notification) -> None:
            world.see(notification)
            if world.seen == ["a"] or len(world.seen) == 2:
                raise ValueError("not yet")

        world.consumer(handler)
        world.add("a", "b")
        world.run(5.0)
        assert world.seen == ["a", "a", "a", "b"]
        world.run(6.0)
        assert world.pending == []

    def test_it_is_set_aside_after_the_last_delivery(self, world: ConsumerWorld) -> None:
        def handler(notification: Notification) -> Deferred[None] | None:
            world.see(notification)
            return fail(ValueError("never")) if notification.description == "a" else None

        consumer = world.consumer(handler, max_deliveries=3)
        world.add("a", "b")
        world.run(10.0)
        assert world.seen == ["a", "a", "a", "b"]
        assert world.stream.dead == [{"id": "1-0", "reason": "failed", "error": "ValueError: never", "deliveries": "3"}]
        assert world.pending == []
        assert consumer.in_flight.counts.dead == 1

    @pytest.mark.parametrize("fields", [{EVENT_FIELD: b"{"}, {b"other": b"x"}, {EVENT_FIELD: b'{"id":"x"}'}])
    def test_a_malformed_entry_is_set_aside_at_once(self, world: ConsumerWorld, fields: dict[bytes, bytes]) -> None:
        world.consumer()
        world.stream.add(fields)
        world.add("b")
        world.run(1.0)
        assert world.seen == ["b"]
        assert [letter["reason"] for letter in world.stream.dead] == ["malformed"]

    @pytest.mark.parametrize("fates", list(product(Fate, repeat=2)))
    def test_setting_aside_is_tried_until_it_is_done_and_done_once(self, world: ConsumerWorld, fates: Any) -> None:
        consumer = world.consumer()
        world.run(1.0)
        link_of(consumer).expect(Fate.FINE, *(fate for fate in fates if fate is not Fate.SILENT))
        world.stream.add({EVENT_FIELD: b"{"})
        world.run(30.0)
        assert [letter["id"] for letter in world.stream.dead] == ["1-0"]
        assert world.pending == []

    def test_an_event_that_ends_the_process_is_given_up_at_last(self, world: ConsumerWorld) -> None:
        """Each new process counts the delivery before its handler begins."""

        def handler(notification: Notification) -> Deferred[None] | None:
            if notification.description == "poison":
                return Deferred()
            world.see(notification)
            return None

        world.add("poison", "innocent")
        for _ in range(10):
            consumer = world.consumer(handler, max_deliveries=3)
            world.run(3.0)
            crash(consumer, world)
        assert [(letter["id"], letter["reason"]) for letter in world.stream.dead] == [("1-0", "failed")]
        assert world.seen == ["innocent"]


class TestRecovery:
    """Entries that were read and not acknowledged are read again."""

    def test_own_pending_entries_come_before_new_ones(self, world: ConsumerWorld) -> None:
        first = world.consumer(lambda _: Deferred())
        world.add("a", "b")
        world.run(1.0)
        crash(first, world)
        world.add("c")
        world.consumer()
        world.run(2.0)
        assert world.seen == ["a", "b", "c"]

    def test_an_acknowledgement_that_was_lost_is_sent_again_and_the_event_not_handled_again(
        self, world: ConsumerWorld
    ) -> None:
        consumer = world.consumer()
        world.run(1.0)
        link = link_of(consumer)
        world.add("a")
        link.expect(Fate.CUT_BEFORE)
        world.run(10.0)
        assert world.seen == ["a"]
        assert world.pending == []

    def test_entries_left_idle_by_another_are_claimed(self, world: ConsumerWorld) -> None:
        first = world.consumer(lambda _: Deferred(), name="first")
        world.add("a")
        world.run(1.0)
        crash(first, world)
        world.consumer(name="second")
        world.run(25.0)
        assert world.seen == []
        world.run(50.0)
        assert world.seen == ["a"]
        assert world.pending == []

    def test_a_slow_handler_keeps_what_it_has_in_flight(self, world: ConsumerWorld) -> None:
        def slow(notification: Notification) -> Any:
            world.see(notification)
            return deferLater(world.clock, 100.0)

        world.consumer(slow, name="slow", concurrency=2)
        world.add("a", "b", "c")
        world.run(1.0)
        world.consumer(name="quick")
        world.run(90.0)
        assert sorted(world.seen) == ["a", "b", "c"]
        world.run(150.0)
        assert sorted(world.seen) == ["a", "b", "c"]

    def test_a_group_that_is_gone_is_created_at_0_with_an_alarm(self, world: ConsumerWorld) -> None:
        consumer = world.consumer()
        world.add("a")
        world.run(1.0)
        world.stream.groups.clear()
        with capturedLogs() as logs:
            world.run(10.0)
        assert world.seen == ["a", "a"]
        assert consumer.groups_recreated == 1
        assert "critical" in {event["log_level"].name for event in logs}

    def test_an_entry_trimmed_while_pending_is_recorded_as_lost(self, world: ConsumerWorld) -> None:
        first = world.consumer(lambda _: Deferred(), name="first")
        world.add("a")
        world.run(1.0)
        crash(first, world)
        world.stream.entries.clear()
        second = world.consumer(name="second")
        world.run(60.0)
        assert [letter["reason"] for letter in world.stream.dead] == ["trimmed"]
        assert second.recovery.trimmed == 1


class TestStopping:
    """A stop is clean, bounded, and releases the remaining entries."""

    def test_handlers_in_flight_finish_and_are_acknowledged(self, world: ConsumerWorld) -> None:
        def handler(notification: Notification) -> Any:
            world.see(notification)
            return deferLater(world.clock, 2.0)

        consumer = world.consumer(handler)
        world.add("a", "b", "c")
        world.run(1.0)
        world.stop(consumer)
        assert world.seen == ["a"]
        assert world.pending == []
        assert world.stream.groups["group"].last == 1  # a slow handler: nothing was read ahead

    def test_what_is_left_is_claimed_by_another_at_once(self, world: ConsumerWorld) -> None:
        consumer = world.consumer(lambda _: Deferred(), name="first", drain_timeout=1.0)
        world.add("a", "b")
        world.run(1.0)
        world.stop(consumer)
        world.consumer(name="second")
        world.run(2.0)
        assert world.seen == ["a", "b"]

    def test_a_stop_while_the_log_is_away_ends_all_the_same(self, world: ConsumerWorld) -> None:
        consumer = world.consumer(lambda _: Deferred(), drain_timeout=1.0)
        world.add("a")
        world.run(1.0)
        link_of(consumer).disconnect()
        world.stop(consumer)


def test_the_stream_is_trimmed_to_its_length_but_never_past_the_unacknowledged(world: ConsumerWorld) -> None:
    handling: list[Deferred[None]] = []

    def handler(_: Notification) -> Deferred[None]:
        handling.append(Deferred())
        return handling[-1]

    world.consumer(handler, max_len=3, concurrency=10)
    world.add(*"abcdef")
    world.run(5.0)
    assert len(world.stream.entries) == 6
    for work in list(handling):
        work.callback(None)
    world.run(10.0)
    assert list(world.stream.entries) == [4, 5, 6]


@pytest.mark.parametrize("first", list(Fate))
def test_whatever_is_lost_at_whichever_step_every_event_is_handled(first: Fate) -> None:
    """
    All runs of six operations from the first connection on, each with every
    fate in three places: every event is handled and acknowledged, in order of
    first delivery, and none is left pending.
    """
    for rest, place in product(product(Fate, repeat=2), range(5)):
        clock = Clock()
        world = ConsumerWorld(clock, MemoryStream(clock))
        world.add("a", "b")
        fates = [Fate.FINE] * place + [first, *rest]
        consumer = world.consumer(fates=fates)
        link = link_of(consumer)
        world.run(0.5)
        world.add("c", "d")
        for _ in range(40):
            world.run(2.0)
            if link.connected and link._in_flight and Fate.SILENT in fates:
                link.cut()  # a connection that is silent does not last
        assert list(dict.fromkeys(world.seen)) == ["a", "b", "c", "d"], fates
        world.run(10.0)
        assert world.pending == [], fates
        world.stop(consumer)
