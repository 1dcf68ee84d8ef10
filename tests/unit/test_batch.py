"""
Tests for L{eventsvc.consumer.batch}: handlers that take several events at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import Notification
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import raise_now

Batches = list[str]


class Sink:
    """Where batches are written; a batch with the event C{bad} in it fails as a whole."""

    def __init__(self, error: Callable[[], BaseException] = lambda: OSError("bad")) -> None:
        self.called: Batches = []
        self.written: list[str] = []
        self.error = error

    def __call__(self, batch: list[Notification]) -> None:
        texts = [notification.description for notification in batch]
        self.called.append(" ".join(texts))
        if "bad" in texts:
            raise self.error()
        self.written += texts


def test_what_has_been_read_is_given_at_once_and_in_order(consuming: ConsumerWorld) -> None:
    sink = Sink()
    consuming.add(*"abcdefg")
    consumer = eager(consuming.consumer(batch=sink, batch_size=3))
    consuming.run(1.0)
    assert sink.called == ["a b c", "d e f", "g"]
    assert consuming.pending == []
    assert consumer.in_flight.counts.handled == 7


def test_nothing_is_acknowledged_before_its_batch_is_done(consuming: ConsumerWorld) -> None:
    ends: list[Deferred[None]] = []

    async def handle_batch(batch: list[Notification]) -> None:
        for notification in batch:
            consuming.see(notification)
        ends.append(Deferred())
        await ends[-1]

    consumer = eager(consuming.consumer(batch=handle_batch))
    consuming.add("a", "b")
    consuming.run(0.5)
    consuming.add("c")
    consuming.run(1.0)
    assert consuming.seen == ["a", "b"]  # the next may not begin before these are done
    assert consuming.pending == [1, 2, 3]
    ends[0].callback(None)
    consuming.run(1.0)
    assert consuming.seen == ["a", "b", "c"]
    assert consuming.pending == [3]
    ends[1].callback(None)
    consuming.run(1.0)
    assert consuming.pending == []
    assert consumer.in_flight.counts.handled == 3


@pytest.mark.parametrize("concurrency", [1, 3])
def test_one_event_that_fails_is_found_by_halving(consuming: ConsumerWorld, concurrency: int) -> None:
    sink = Sink()
    consuming.add(*"1234", "bad", *"678")
    consumer = eager(consuming.consumer(batch=sink, concurrency=concurrency, max_deliveries=2))
    consuming.run(5.0)
    assert sink.called == ["1 2 3 4 bad 6 7 8", "1 2 3 4", "bad 6 7 8", "bad 6", "bad", "bad", "6", "7 8"]
    assert sink.written == list("1234678")
    assert consuming.dead == {"5-0": "failed: OSError: bad"}
    assert [letter["deliveries"] for letter in consuming.stream.dead] == ["2"]
    assert consumer.in_flight.counts.failed == 2
    assert consuming.pending == []


def test_a_rejected_event_is_found_and_set_aside_at_once(consuming: ConsumerWorld) -> None:
    sink = Sink(lambda: Reject("never"))
    consuming.add("1", "bad", "3")
    eager(consuming.consumer(batch=sink))
    consuming.run(1.0)
    assert consuming.dead == {"2-0": "rejected: never"}
    assert sink.written == ["1", "3"]


def test_a_batch_may_fail_in_part(consuming: ConsumerWorld) -> None:
    """Only those that are named are delivered again, each alone."""
    called: list[list[str]] = []

    def handle_batch(batch: list[Notification]) -> None:
        called.append([notification.description for notification in batch])
        odd = {n.stream_id: ValueError(n.description) for n in batch if n.description in "bd" and len(called) < 3}
        if odd:
            raise BatchFailed(odd)

    consuming.add(*"abcd")
    consumer = eager(consuming.consumer(batch=handle_batch))
    consuming.run(5.0)
    assert called == [list("abcd"), ["b"], ["b"], ["d"]]
    assert consuming.pending == []
    assert consumer.in_flight.counts.handled == 4
    assert consumer.in_flight.counts.failed == 3
    assert consuming.dead == {}


@pytest.mark.parametrize("errors", [{}, {"9-0": ValueError("x")}, {"1-0": 1, "2-0": None}, None, 5])
def test_a_failure_in_part_that_names_no_event_acknowledges_none(consuming: ConsumerWorld, errors: Any) -> None:
    class Odd(BatchFailed):
        def __init__(self) -> None:
            self.errors = errors

    consuming.add("a", "b")
    consumer = eager(consuming.consumer(batch=lambda _: raise_now(Odd()), max_deliveries=1))
    consuming.run(5.0)
    assert consumer.in_flight.counts.handled == 0
    assert consuming.dead.keys() == {"1-0", "2-0"}


def test_a_batch_may_be_wanted_again_later(consuming: ConsumerWorld) -> None:
    """Whole, and as often as it likes: no delivery is spent."""
    times: list[float] = []

    def handle_batch(batch: list[Notification]) -> None:
        times.append(consuming.clock.seconds())
        assert [notification.deliveries for notification in batch] == [1, 1]
        if len(times) < 8:
            raise RetryAfter(5.0)

    consuming.add("a", "b")
    consumer = eager(consuming.consumer(batch=handle_batch, max_deliveries=1))
    consuming.run(60.0)
    assert [round(time - times[0]) for time in times] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert consuming.pending == []
    assert (consumer.in_flight.counts.failed, consumer.in_flight.counts.handled) == (0, 2)


def test_what_another_has_claimed_is_not_wanted_again(consuming: ConsumerWorld) -> None:
    """Of a batch that waits for its next call the rest is delivered."""

    def handle_batch(batch: list[Notification]) -> None:
        consuming.seen.append(" ".join(notification.description for notification in batch))
        if len(consuming.seen) < 3:
            raise RetryAfter(5.0)

    consuming.add("a", "b", "c")
    consumer = eager(consuming.consumer(batch=handle_batch))
    consuming.run(1.0)
    consumer.in_flight.drop(["2-0"])
    consuming.run(5.0)
    consumer.in_flight.drop(["1-0", "3-0"])
    consuming.run(6.0)
    assert consuming.seen == ["a b c", "a c"]
    assert consumer.in_flight.entries == {}


def test_a_batch_is_not_wanted_again_while_the_consumer_pauses(consuming: ConsumerWorld) -> None:
    """Its events are tried one at a time then, as all others."""
    is_away = True

    def handle_batch(batch: list[Notification]) -> None:
        consuming.seen.append(" ".join(notification.description for notification in batch))
        if batch[0].description == "a" and len(batch) > 1:
            raise RetryAfter(5.0)
        if is_away:
            raise OSError("no database")

    consuming.add(*"abcdef")
    consumer = eager(consuming.consumer(batch=handle_batch, batch_size=2, concurrency=3))
    consuming.run(4.0)
    assert consumer.in_flight.breaker.is_open
    consuming.run(10.0)
    assert consuming.seen.count("a b") == 1
    is_away = False
    consuming.run(60.0)
    assert consuming.pending == []


@pytest.mark.parametrize("how", ["now", "later"])
def test_a_batch_that_asks_for_the_end_is_given_it(consuming: ConsumerWorld, how: str) -> None:
    said: list[str] = []

    async def later(_: object) -> None:
        await deferLater(consuming.clock, 0.1)
        raise SystemExit(3)

    batch = later if how == "later" else lambda _: raise_now(SystemExit(3))
    consuming.add("a", "b", "c")
    consumer = eager(consuming.consumer(batch=batch, exit=said.append, name="first"))
    with capturedLogs() as logs:
        consuming.run(5.0)
    assert said == ["the handler raised SystemExit: 3"]
    assert [event["id"] for event in logs if "log_failure" in event] == ["1-0"]
    assert consuming.pending == [1, 2, 3]
    consuming.stop(consumer)
    assert consuming.dead == {}


def test_what_another_has_claimed_is_not_delivered_again(consuming: ConsumerWorld) -> None:
    ends: list[Deferred[None]] = []

    def handle_batch(batch: list[Notification]) -> Deferred[None]:
        consuming.seen.append(" ".join(notification.description for notification in batch))
        ends.append(Deferred())
        return ends[-1]

    consuming.add(*"abcd")
    consumer = eager(consuming.consumer(batch=handle_batch))
    consuming.run(1.0)
    consumer.in_flight.drop(["2-0", "3-0"])
    ends[0].errback(OSError("x"))
    consuming.run(1.0)
    ends[1].callback(None)
    consuming.run(1.0)
    ends[2].callback(None)
    consuming.run(1.0)
    assert consuming.seen == ["a b c d", "a", "d"]
    assert consuming.pending == [2, 3]
    assert consumer.in_flight.entries == {}


def test_a_stop_waits_for_the_batch_and_no_longer_than_it_may(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer(batch=lambda _: deferLater(consuming.clock, 2.0), drain_timeout=5.0)
    consuming.add("a")
    consuming.run(1.0)
    consuming.stop(consumer)
    assert consuming.pending == []
    consumer = consuming.consumer(batch=lambda _: Deferred(), drain_timeout=2.0, name="first")
    consuming.add("b", "c")
    consuming.run(1.0)
    consuming.stop(consumer)
    consuming.consumer(name="second")
    consuming.run(5.0)
    assert consuming.seen == ["b", "c"]
    assert consuming.pending == []


def test_a_stop_leaves_the_rest_of_a_batch_that_failed_to_others(consuming: ConsumerWorld) -> None:
    ends: list[Deferred[None]] = []

    def handle_batch(_: object) -> Deferred[None]:
        ends.append(Deferred())
        return ends[-1]

    consuming.add(*"abcd")
    consumer = eager(consuming.consumer(batch=handle_batch, name="first"))
    consuming.run(1.0)
    consuming.consumers.remove(consumer)
    stopping = consumer.stopService()
    ends[0].errback(OSError("x"))
    consuming.run(3.0)
    assert stopping.called
    assert len(ends) == 1
    assert consuming.pending == [1, 2, 3, 4]


def test_entries_that_were_read_before_go_alone(consuming: ConsumerWorld) -> None:
    """One of them may be what ended the process."""
    sink = Sink()
    consuming.leave_pending("consumer", "a", "b")
    consuming.add("c", "d")
    eager(consuming.consumer(batch=sink))
    consuming.run(1.0)
    assert sink.called == ["a", "b", "c d"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_is_no_event_does_not_go_into_a_batch(consuming: ConsumerWorld, concurrency: int) -> None:
    sink = Sink()
    consuming.add("a")
    consuming.stream.add({b"EventStream": b"{"})
    consuming.stream.add({b"CreateStream": b"x"})
    consuming.add("b")
    eager(consuming.consumer(batch=sink, concurrency=concurrency))
    consuming.run(2.0)
    assert sink.written == ["a", "b"]
    assert consuming.dead.keys() == {"2-0"}
    assert consuming.pending == []
