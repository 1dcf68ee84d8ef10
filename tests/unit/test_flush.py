"""
Tests for L{eventsvc.consumer.flush}: buffered events of handlers are flushed before the
events are acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from eventsvc.event import Notification
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import generate, raise_now


def test_an_event_is_acknowledged_after_a_flush_that_has_to_be_awaited(consuming: ConsumerWorld) -> None:
    flushes: list[Deferred[None]] = []

    async def flush() -> None:
        flushes.append(Deferred())
        await flushes[-1]

    consumer = eager(consuming.consumer(flush=flush))
    consuming.add("a", "b")
    consuming.run(0.5)
    consuming.add("c")
    consuming.run(1.0)
    assert consuming.seen == ["a", "b"]  # the next may not begin before these are flushed
    assert consuming.pending == [1, 2, 3]
    flushes[0].callback(None)
    consuming.run(1.0)
    assert consuming.seen == ["a", "b", "c"]
    assert consuming.pending == [3]
    flushes[1].callback(None)
    consuming.run(1.0)
    assert consuming.pending == []
    assert consumer.in_flight.counts.handled == 3


@pytest.mark.parametrize("flush", [lambda: generate(1), lambda: asyncio.sleep])
def test_a_flush_that_nothing_runs_is_a_failure(consuming: ConsumerWorld, flush: Callable[[], Any]) -> None:
    consumer = consuming.consumer(flush=flush, max_deliveries=2)
    consuming.add("a")
    consuming.run(5.0)
    assert consumer.in_flight.counts.handled == 0
    assert consuming.dead.keys() == {"1-0"}


def test_an_event_whose_flush_was_that_of_another_is_delivered_again_if_it_failed(consuming: ConsumerWorld) -> None:
    """Three handlers buffer their events; the flush of the first takes all, and fails."""
    ends: dict[str, Deferred[None]] = {}
    kept: list[str] = []
    written: list[str] = []
    flushes: list[Deferred[None]] = []

    async def handler(notification: Notification) -> None:
        kept.append(notification.description)
        ends[notification.description] = Deferred()
        await ends[notification.description]

    async def flush() -> None:
        taken = kept[:]
        kept.clear()
        if len(flushes) < 1:
            flushes.append(Deferred())
            await flushes[-1]
        written.extend(taken)

    consuming.consumer(handler, flush=flush, concurrency=3)
    consuming.add("a", "b", "c")
    consuming.run(1.0)
    assert kept == ["a", "b", "c"]
    ends["a"].callback(None)
    ends["b"].callback(None)  # its own flush has nothing to do, and must wait for the first
    consuming.run(1.0)
    assert consuming.pending == [1, 2, 3]
    flushes[0].errback(OSError("disk full"))
    for _ in range(5):
        consuming.run(1.0)
        for end in ends.values():
            if not end.called:
                end.callback(None)
    assert sorted(written) == ["a", "b", "c"]
    consuming.run(1.0)
    assert consuming.pending == []


def test_a_flush_that_asks_for_the_end_is_given_it(consuming: ConsumerWorld) -> None:
    said: list[str] = []
    consumer = consuming.consumer(flush=lambda: raise_now(SystemExit(3)), exit=said.append, name="first")
    consuming.add("a", "b", "c")
    with capturedLogs() as logs:
        consuming.run(5.0)
    assert said == ["the handler raised SystemExit: 3"]
    assert [event["id"] for event in logs if "log_failure" in event] == ["1-0"]
    assert consuming.pending == [1]
    consuming.stop(consumer)
    assert consuming.dead == {}


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_order_is_kept_after_a_failed_flush(consuming: ConsumerWorld, seconds: float) -> None:
    """
    Events flushed together are delivered again one by one, before later ones:
    even if a slice ended there, and others wait.
    """
    kept: list[str] = []
    written: list[str] = []
    fails = iter([True, True, False, False, True, True, False])

    def handler(notification: Notification) -> None:
        consuming.clock.rightNow += seconds
        kept.append(notification.description)

    def flush() -> None:
        taken = kept[:]
        kept.clear()
        if next(fails, False):
            raise OSError("disk full")
        written.extend(taken)

    consuming.add(*"123456789")
    consumer = eager(consuming.consumer(handler, flush=flush))
    consuming.run(30.0)
    assert written == list("123456789")
    assert consuming.pending == []
    assert consumer.in_flight.counts.redelivered >= 5


def test_order_is_kept_after_an_awaited_flush_failed(consuming: ConsumerWorld) -> None:
    kept: list[str] = []
    written: list[str] = []
    fails = iter([False, True, False, True])

    async def flush() -> None:
        taken = kept[:]
        kept.clear()
        await deferLater(consuming.clock, 0.3)
        if next(fails, False):
            raise OSError("disk full")
        written.extend(taken)

    eager(consuming.consumer(lambda event: kept.append(event.description), flush=flush))
    for group in ("12", "345", "6789"):
        consuming.add(*group)
        consuming.run(0.4)
    consuming.run(30.0)
    assert written == list("123456789")


def test_each_event_of_a_failed_flush_has_all_its_deliveries(consuming: ConsumerWorld) -> None:
    """A failure of a common flush counts as a delivery of each event."""
    consuming.add("a", "b", "c")
    consumer = eager(consuming.consumer(flush=lambda: raise_now(OSError("disk full")), max_deliveries=3))
    consuming.run(10.0)
    assert consuming.seen == [*"abc", *"aa", *"bb", *"cc"]
    assert [letter["deliveries"] for letter in consuming.stream.dead] == ["3", "3", "3"]
    assert (consumer.in_flight.counts.failed, consumer.in_flight.counts.redelivered) == (7, 6)


def test_what_a_failed_flush_puts_back_is_not_begun_if_it_is_anothers(consuming: ConsumerWorld) -> None:
    flushes: list[Deferred[None]] = []

    def flush() -> Deferred[None]:
        flushes.append(Deferred())
        return flushes[-1]

    consuming.add("a", "b")
    consumer = eager(consuming.consumer(flush=flush))
    consuming.run(1.0)
    assert consuming.seen == ["a", "b"]
    consumer.in_flight.drop(["2-0"])
    flushes[0].errback(OSError("x"))
    consuming.run(1.0)
    assert consuming.seen == ["a", "b", "a"]
    flushes[1].callback(None)
    consuming.run(1.0)
    assert consuming.seen == ["a", "b", "a"]
    assert consuming.pending == [2]


def test_a_flush_under_way_is_waited_for_at_the_end(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer(flush=lambda: deferLater(consuming.clock, 2.0), drain_timeout=5.0)
    consuming.add("a")
    consuming.run(1.0)
    consuming.stop(consumer)
    assert consuming.pending == []


def test_a_flush_that_does_not_end_is_given_up_after_the_drain_timeout(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer(flush=lambda: Deferred(), drain_timeout=2.0, name="first")
    consuming.add("a", "b")
    consuming.run(1.0)
    consuming.stop(consumer)
    consuming.consumer(name="second")
    consuming.run(5.0)
    assert consuming.seen == ["a", "a", "b"]
    assert consuming.pending == []
