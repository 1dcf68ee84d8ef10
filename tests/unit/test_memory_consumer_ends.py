"""
Tests for the ends of L{eventsvc.testing.consumer}: it is killed, stopped, cut off or
ended by its handler.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater

from eventsvc.handlers import Notification, RetryAfter
from eventsvc.testing import MemoryConsumer
from tests.unit.test_memory_consumer import Batches, Plain, coroutine, deferred, ignore, on_asyncio


@pytest.mark.parametrize("concurrency", [1, 10])
@pytest.mark.parametrize("handler", [ignore, coroutine, deferred, on_asyncio, Batches])
def test_what_was_handled_before_a_crash_and_not_acknowledged_is_delivered_again(
    handler: object, concurrency: int
) -> None:
    with MemoryConsumer(handler, concurrency=concurrency) as consumer:
        consumer.crash_after("b")
        consumer.post("a", "b", "c")
        consumer.advance(10.0)
        assert consumer.handled.count("b") == 2
        assert set(consumer.handled) == {"a", "b", "c"}
        assert [call.deliveries for call in consumer.calls if "b" in call.events] == [1, 2]
        assert consumer.unacknowledged == []
        consumer.post("d")
        consumer.advance(10.0)
        assert consumer.handled.count("d") == 1


def test_an_event_that_kills_its_consumer_is_given_up() -> None:
    def kill(event: Notification) -> None:
        if event.description == "bad":
            consumer.crash()

    with MemoryConsumer(kill, max_deliveries=3) as consumer:
        consumer.post("bad", "a")
        consumer.advance(60.0)
        assert consumer.handled == ["a"]
        assert consumer.dead == {"bad": "failed: given up after 4 deliveries that did not end"}
        assert [call.seconds for call in consumer.calls if call.events == ["bad"]] == [None] * 4


@pytest.mark.parametrize("reactor", ["auto", "asyncio"])
def test_a_call_that_runs_while_its_consumer_is_killed_never_goes_on(reactor: str) -> None:
    effects: list[int] = []

    async def wait(event: Notification) -> None:
        if reactor == "asyncio":
            await asyncio.sleep(5.0)
        else:
            await deferLater(consumer.clock, 5.0)
        effects.append(event.deliveries)

    with MemoryConsumer(wait, reactor=reactor) as consumer:
        consumer.post("a")
        consumer.advance(3.0)
        consumer.crash()
        assert consumer.clock.seconds() == 3.0
        consumer.advance(4.0)
        assert effects == []
        consumer.advance(4.0)
        assert (effects, consumer.handled) == ([2], ["a"])


def test_a_call_that_is_ready_while_its_consumer_is_killed_does_not_go_on_for_long() -> None:
    steps: list[int] = []

    async def step(event: Notification) -> None:
        await asyncio.sleep(1.0)
        if event.description == "a":
            return
        for number in range(100):
            steps.append(number)
            await asyncio.sleep(0)

    with MemoryConsumer(step, reactor="asyncio", concurrency=2) as consumer:
        consumer.crash_after("a")
        consumer.post("a", "b")
        consumer.advance(1.9)
        assert len(steps) < 10
        consumer.advance(10.0)
        assert consumer.handled == ["a", "a", "b"]


@pytest.mark.parametrize("reactor", ["auto", "asyncio"])
def test_what_was_killed_is_cleaned_up_at_the_end(reactor: str) -> None:
    """So nothing of it is left to the garbage collector, which cannot wait for what cleans up."""
    waiting: list[Deferred[None]] = []
    ended: list[int] = []

    async def wait(event: Notification) -> None:
        try:
            waiting.append(Deferred())
            await waiting[-1]
        finally:
            await succeed(None)
            ended.append(event.deliveries)

    with MemoryConsumer(wait, reactor=reactor) as consumer:
        consumer.post("a")
        consumer.advance(1.0)
        consumer.crash()
        consumer.advance(1.0)
        assert ended == []
    assert sorted(ended) == [1, 2]


def test_a_result_that_comes_after_a_crash_is_lost() -> None:
    waiting: list[Deferred[None]] = []

    def wait(_: Notification) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    with MemoryConsumer(wait) as consumer:
        consumer.post("a")
        consumer.advance(1.0)
        consumer.crash()
        waiting[0].callback(None)
        consumer.advance(1.0)
        assert (consumer.handled, consumer.unacknowledged, len(waiting)) == ([], ["a"], 2)
        waiting[1].callback(None)
        consumer.advance(1.0)
        assert (consumer.handled, consumer.unacknowledged) == (["a"], [])


class Watched:
    """Says what is done with it."""

    said: list[str] = []

    def start(self) -> None:
        self.said.append("start")

    def handle(self, event: Notification) -> None:
        self.said.append(event.description)

    def stop(self) -> None:
        self.said.append("stop")


def test_a_handler_is_started_and_stopped_by_each_process_that_is_not_killed() -> None:
    Watched.said = []
    with MemoryConsumer(Watched) as consumer:
        consumer.post("a")
        consumer.advance(1.0)
        consumer.crash()
        consumer.advance(1.0)
        consumer.stop()
        consumer.stop()
        consumer.post("b")
        consumer.advance(60.0)
        assert Watched.said == ["start", "a", "start", "stop"]
        consumer.start()
        consumer.advance(1.0)
    assert Watched.said == ["start", "a", "start", "stop", "start", "b", "stop"]


def test_a_stop_lets_a_call_finish_and_hands_over_the_rest() -> None:
    async def wait(event: Notification) -> None:
        await deferLater(consumer.clock, event.data)

    with MemoryConsumer(wait, drain_timeout=20.0, concurrency=2) as consumer:
        consumer.post("quick", data=5.0)
        consumer.post("slow", data=60.0)
        consumer.advance(1.0)
        consumer.stop()
        assert (consumer.handled, consumer.unacknowledged) == (["quick"], ["slow"])
        consumer.start()
        consumer.advance(61.0)
        assert (consumer.handled, consumer.unacknowledged) == (["quick", "slow"], [])


def test_a_handler_that_cannot_start_ends_the_process() -> None:
    class Broken(Plain):
        async def start(self) -> None:
            raise OSError("no database")

    with MemoryConsumer(Broken) as consumer:
        consumer.post("a")
        consumer.advance(60.0)
        assert consumer.ended == "the handler cannot start: no database"
        assert (consumer.calls, consumer.unacknowledged) == ([], ["a"])


@pytest.mark.parametrize("reactor", ["auto", "asyncio"])
def test_a_handler_that_exits_ends_the_process_and_its_event_is_handed_over(reactor: str) -> None:
    async def leave(event: Notification) -> None:
        if event.deliveries == 1 and event.description == "b":
            raise SystemExit("enough")

    with MemoryConsumer(leave, reactor=reactor) as consumer:
        consumer.post("a", "b", "c")
        consumer.advance(60.0)
        assert consumer.ended == "the handler raised SystemExit: enough"
        assert (consumer.handled, consumer.unacknowledged) == (["a"], ["b", "c"])
        consumer.stop()
        consumer.start()
        consumer.advance(1.0)
        assert consumer.handled == ["a", "b", "c"]


def test_a_lost_connection_repeats_nothing() -> None:
    with MemoryConsumer(ignore) as consumer:
        consumer.post("a")
        consumer.advance(1.0)
        consumer.disconnect(30.0)
        consumer.post("b")
        consumer.advance(29.0)
        assert consumer.unacknowledged == ["b"]
        consumer.advance(5.0)
        assert (consumer.handled, consumer.unacknowledged) == (["a", "b"], [])
        assert "reading from Redis failed, retrying: connection lost" in consumer.messages


def test_an_error_of_the_test_is_not_hidden_and_the_handler_is_stopped() -> None:
    Watched.said = []

    def fail(consumer: Any) -> None:
        consumer.advance(1.0)
        raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="wrong"), MemoryConsumer(Watched) as consumer:
        fail(consumer)
    assert Watched.said == ["start", "stop"]


def test_a_consumer_is_started_once_at_a_time() -> None:
    with MemoryConsumer(ignore) as consumer:
        with pytest.raises(RuntimeError, match="runs already"):
            consumer.start()
        consumer.stop()
        with pytest.raises(RuntimeError, match="no consumer runs"):
            consumer.crash()


@pytest.mark.parametrize("concurrency", [1, 10])
def test_stops_spend_no_delivery_of_an_event_that_is_postponed(concurrency: int) -> None:
    def postpone(_: object) -> None:
        raise RetryAfter(3_600.0)

    with MemoryConsumer(postpone, concurrency=concurrency) as consumer:
        consumer.post(*"abcdefghij")
        for _ in range(12):
            consumer.advance(5.0)
            consumer.stop()
            consumer.start()
        assert consumer.dead == {}


@pytest.mark.parametrize("how", ["cancelled", "fails when it is cancelled"])
def test_a_drain_that_takes_too_long_spends_no_delivery(how: str) -> None:
    async def slow(_: object) -> None:
        try:
            await deferLater(consumer.clock, 100.0)
        except CancelledError:
            if how != "cancelled":
                raise OSError("rolled back") from None
            raise

    with MemoryConsumer(slow, drain_timeout=1.0) as consumer:
        consumer.post("a")
        for _ in range(8):
            consumer.advance(5.0)
            consumer.stop()
            consumer.start()
        assert consumer.dead == {}
        consumer.advance(101.0)
        assert consumer.handled == ["a"]


def test_a_delivery_that_ends_with_the_process_counts() -> None:
    def leave(_: object) -> None:
        raise SystemExit

    with MemoryConsumer(leave, max_deliveries=2) as consumer:
        consumer.post("a", "b")
        for _ in range(4):
            consumer.advance(5.0)
            consumer.stop()
            consumer.start()
        assert [(call.events, call.deliveries) for call in consumer.calls if call.events == ["a"]] == [
            (["a"], 1),
            (["a"], 2),
            (["a"], 3),
        ]


def test_handlers_that_take_long_to_be_cancelled_end_a_stop_in_order() -> None:
    """They end while their events are handed over."""
    pauses = dict(zip("abcd", [0.0, 0.0015, 0.004, 5.0], strict=True))

    async def handle(event: Notification) -> None:
        try:
            await deferLater(consumer.clock, 100.0)
        except CancelledError:
            await deferLater(consumer.clock, pauses[event.description])
            raise

    with MemoryConsumer(handle, drain_timeout=1.0, concurrency=4) as consumer:
        consumer.post(*"abcd")
        for _ in range(2):
            consumer.advance(1.0)
            consumer.stop()
            consumer.start()
        consumer.advance(0.1)
        assert [(event, call.deliveries) for call in consumer.calls[4:8] for event in call.events] == [
            (event, 1) for event in "abcd"
        ]


@pytest.mark.parametrize("batch", [True, False])
def test_a_stop_does_not_wait_for_what_fails_during_it(batch: bool) -> None:
    async def postpone(_: object) -> None:
        await deferLater(consumer.clock, 1.0)
        raise RetryAfter(3_600.0)

    class InBatches:
        handle_batch = staticmethod(postpone)

    with MemoryConsumer(InBatches() if batch else postpone) as consumer:
        consumer.post("a", "b")
        consumer.advance(0.5)
        before = consumer.clock.seconds()
        consumer.stop()
        assert consumer.clock.seconds() < before + 2.0
        consumer.start()
        consumer.advance(0.5)
        assert consumer.calls[-1].deliveries == 1
