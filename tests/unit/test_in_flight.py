"""
Tests for L{eventsvc.consumer.in_flight}: which entries are begun, and how that ends.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs

from eventsvc.event import EVENT_FIELD, Entry, Notification, encode_notification
from tests.support.consumer_world import ConsumerWorld, eager


def test_handlers_that_have_ended_already_take_no_stack(consuming: ConsumerWorld) -> None:
    """A thousand fired Deferreds, one after another."""

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        return succeed(None)

    consumer = consuming.consumer(handler)
    event = encode_notification(Notification(1, "x", "now"))
    consumer.in_flight.take([Entry(f"{number}-0", {EVENT_FIELD: event}) for number in range(1_000)])
    assert len(consuming.seen) == 1_000
    assert consumer.in_flight.counts.failed == 0


def test_an_entry_in_flight_is_not_taken_again(consuming: ConsumerWorld) -> None:
    """Neither while it waits nor while it is handled, although each reconnection reads it again."""
    ends: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        ends.append(Deferred())
        return ends[-1]

    consuming.add("a", "b", "c")
    consumer = eager(consuming.consumer(handler, concurrency=2))
    consuming.run(1.0)
    for _ in range(3):
        consumer.in_flight.take([Entry(f"{n}-0", consuming.stream.entries[n], 2, again=True) for n in (1, 2, 3)])
        consuming.run(1.0)
    for number in range(3):
        ends[number].callback(None)
        consuming.run(1.0)
    assert consuming.seen == ["a", "b", "c"]
    assert consuming.pending == []


def take_over(consuming: ConsumerWorld, *places: int) -> None:
    """Let another consumer claim these entries."""
    for place in places:
        consuming.stream.groups["group"].pending[place].consumer = "other"


def test_entries_of_another_are_not_begun(consuming: ConsumerWorld) -> None:
    """The other consumer handles them."""
    handling: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        handling.append(Deferred())
        return handling[-1]

    consumer = consuming.consumer(handler, concurrency=1)
    consuming.add(*"abcdef")
    consuming.run(1.0)
    consumer.in_flight.take([Entry(f"{n}-0", consuming.stream.entries[n]) for n in range(2, 7)])
    consumer.in_flight.drop(["1-0", "3-0", "4-0", "9-0"])
    while len(consuming.seen) > len([work for work in handling if work.called]):
        handling[len(consuming.seen) - 1].callback(None)
    assert consuming.seen[:4] == ["a", "b", "e", "f"]
    assert consumer.in_flight.entries == {}
    for work in handling:
        if not work.called:
            work.callback(None)


def test_a_renewal_that_tells_of_another_owner_drops_its_entries(consuming: ConsumerWorld) -> None:
    handling: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        handling.append(Deferred())
        return handling[-1]

    consumer = consuming.consumer(handler, claim_idle=30.0)
    consuming.add("a")
    consuming.run(1.0)
    consuming.add("b", "c", "d")
    consumer.in_flight.take([Entry(f"{n}-0", consuming.stream.entries[n]) for n in (2, 3, 4)])
    consuming.run(0.5)
    group = consuming.stream.groups["group"]
    assert set(group.pending) == {1}
    consuming.run(12.0)  # 2, 3 and 4 are pending with nobody here
    assert set(consumer.in_flight.entries) <= {"1-0"}
    handling[0].callback(None)
    consuming.run(1.0)
    assert consuming.seen[0] == "a"
    for work in handling[1:]:
        work.callback(None)
    consuming.run(1.0)
    for work in handling:
        if not work.called:
            work.callback(None)


def test_an_event_that_failed_is_not_begun_again_once_it_is_anothers(consuming: ConsumerWorld) -> None:
    ends: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        ends.append(Deferred())
        return ends[-1]

    consumer = consuming.consumer(handler, name="first")
    consuming.add("a")
    consuming.run(1.0)
    take_over(consuming, 1)
    consumer.in_flight.drop(["1-0"])
    ends[0].errback(KeyError("x"))
    consuming.run(5.0)
    assert consuming.seen == ["a"]
    assert consumer.in_flight.entries == {}
    assert consuming.pending == [1]
    consumer.in_flight.take([Entry("1-0", consuming.stream.entries[1], 2, again=True)])  # it comes back to us
    consuming.run(1.0)
    assert consuming.seen == ["a", "a"]
    consumer.in_flight.drop(["1-0"])
    consumer.in_flight.take([Entry("1-0", consuming.stream.entries[1], 2, again=True)])  # while the handler is at it
    ends[1].errback(KeyError("x"))
    consuming.run(1.0)
    assert consuming.seen == ["a", "a", "a"]
    consumer.in_flight.drop(["1-0"])
    ends[2].callback(None)  # this was its last time, but it comes back once more
    consumer.in_flight.take([Entry("1-0", consuming.stream.entries[1], 2, again=True)])
    consuming.run(1.0)
    ends[3].errback(KeyError("x"))
    consuming.run(1.0)
    assert consuming.seen == ["a"] * 5
    ends[4].callback(None)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_handlers_that_do_not_end_are_cancelled_after_the_drain_timeout(
    consuming: ConsumerWorld, concurrency: int
) -> None:
    """Not before, and not twice; their results are ignored afterwards."""
    cancelled: list[float] = []

    async def handler(notification: Notification) -> None:
        consuming.see(notification)
        try:
            await deferLater(consuming.clock, 1_000.0)
        except CancelledError:
            cancelled.append(consuming.clock.seconds())
            raise

    consumer = consuming.consumer(handler, concurrency=concurrency, drain_timeout=4.0, name="first")
    consuming.add(*"abc")
    consuming.run(1.0)
    begun = len(consuming.seen)
    stopped = consuming.clock.seconds()
    with capturedLogs() as logs:
        consuming.stop(consumer)
    assert [time - stopped for time in cancelled] == [4.0] * begun == [4.0] * concurrency
    assert [event for event in logs if event["log_level"] >= LogLevel.error] == []
    assert consuming.pending == [1, 2, 3][: len(consuming.pending)]
    assert consumer.in_flight.counts.failed == 0


def test_a_stop_begins_no_more_and_ends_with_the_last_that_was_begun(consuming: ConsumerWorld) -> None:
    """Two handlers run, and other entries wait."""
    ends: dict[str, Deferred[None]] = {}

    def handler(notification: Notification) -> Deferred[None]:
        consuming.see(notification)
        ends[notification.description] = Deferred()
        return ends[notification.description]

    consuming.add(*"abcde")
    consumer = eager(consuming.consumer(handler, concurrency=2, drain_timeout=100.0))
    consuming.run(1.0)
    consuming.consumers.remove(consumer)
    stopped: list[None] = []
    consumer.stopService().addCallback(stopped.append)
    consuming.run(1.0)
    ends["b"].callback(None)
    consuming.run(1.0)
    assert (consuming.seen, stopped) == (["a", "b"], [])
    ends["a"].callback(None)
    consuming.run(1.0)
    assert (consuming.seen, stopped) == (["a", "b"], [None])
    assert consuming.pending == [3, 4, 5]


def test_a_handler_that_ends_well_although_it_is_cancelled_has_handled_its_event(consuming: ConsumerWorld) -> None:
    async def handler(notification: Notification) -> None:
        try:
            await deferLater(consuming.clock, 1_000.0)
        except CancelledError:
            consuming.see(notification)

    consumer = consuming.consumer(handler, drain_timeout=1.0)
    consuming.add("a")
    consuming.run(1.0)
    consuming.stop(consumer)
    assert consuming.seen == ["a"]
    assert consuming.pending == []
