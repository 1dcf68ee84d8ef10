"""
Tests for L{eventsvc.consumer.isolation}: whatever kills a consumer takes no other event with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock, deferLater

from eventsvc.consumer.isolation import Isolation
from eventsvc.event import Entry, Notification
from eventsvc.testing import MemoryConsumer
from tests.support.consumer_world import ConsumerWorld, eager

TEXTS = [f"event {number}" for number in range(20)]


@attrs.define
class Killing:
    """
    A consumer that some events kill, or too many at once.

    @ivar killers: those of which it dies.
    @ivar most: of how many more at a time it dies.
    """

    killers: Collection[str] = ()
    most: int = 1_000
    seconds: float = 1.0
    kills: int = 0
    running: int = 0
    consumer: MemoryConsumer = attrs.field(init=False)

    def run(self, **options: Any) -> MemoryConsumer:
        """Consume all events, however often that takes a new process, and return the consumer."""
        self.consumer = MemoryConsumer(self.handle, **options)
        with self.consumer as consumer:
            consumer.post(*TEXTS)
            for _ in range(1_000):
                consumer.advance(1.0)
                if not consumer.unacknowledged:
                    break
        return self.consumer

    async def handle(self, notification: Notification) -> None:
        clock = self.consumer.clock
        self.running += 1
        if self.running > self.most or notification.description in self.killers:
            clock.callLater(0.1, self._kill)
        await deferLater(clock, self.seconds)
        self.running -= 1

    def _kill(self) -> None:
        self.kills += 1
        self.running = 0
        self.consumer.crash()


@pytest.mark.parametrize("concurrency", [1, 2, 4, 20])
@pytest.mark.parametrize("max_deliveries", [1, 2, 5])
@pytest.mark.parametrize("killers", [["event 0"], ["event 5"], ["event 5", "event 6", "event 19"]])
def test_an_event_that_kills_takes_no_other_with_it(concurrency: int, max_deliveries: int, killers: list[str]) -> None:
    killing = Killing(killers)
    consumer = killing.run(concurrency=concurrency, max_deliveries=max_deliveries)
    assert set(consumer.dead) == set(killers)
    assert set(consumer.handled) == set(TEXTS) - set(killers)
    assert killing.kills <= len(killers) * (max_deliveries + 3)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_events_that_kill_together_are_handled_one_at_a_time(most: int) -> None:
    """As those that need more memory together than there is."""
    consumer = Killing(most=most).run(concurrency=8, max_deliveries=2)
    assert not consumer.dead
    assert set(consumer.handled) == set(TEXTS)


def leave_pending(consuming: ConsumerWorld, deliveries: int, *texts: str) -> None:
    consuming.leave_pending("consumer", *texts)
    for row in consuming.stream.groups["group"].pending.values():
        row.deliveries = deliveries


def hang_on(text: str, consuming: ConsumerWorld, began: list[str]) -> Callable[[Notification], Any]:
    """Return a handler that takes a second, and for one event an hour."""

    async def handle(notification: Notification) -> None:
        began.append(notification.description)
        await deferLater(consuming.clock, 3600.0 if notification.description == text else 1.0)

    return handle


@pytest.mark.parametrize("text", ["1", "2"])
def test_one_that_takes_long_holds_up_the_others_for_half_a_minute(consuming: ConsumerWorld, text: str) -> None:
    leave_pending(consuming, 2, "1", "2")
    consuming.add("3", "4", "5")
    began: list[str] = []
    eager(consuming.consumer(hang_on(text, consuming, began), concurrency=4))
    consuming.run(29.0)
    assert len(began) < 5
    consuming.run(62.0)
    assert began == ["1", "2", "3", "4", "5"]


def test_one_that_has_raised_is_tried_again_beside_others(consuming: ConsumerWorld) -> None:
    """The process has survived it."""
    leave_pending(consuming, 2, "bad")
    consuming.add("1", "2", "3")

    async def handle(notification: Notification) -> None:
        await deferLater(consuming.clock, 1.0)
        if notification.description == "bad":
            raise ValueError
        consuming.see(notification)

    eager(consuming.consumer(handle, concurrency=4, retry_for=3600.0))
    consuming.run(3.0)
    assert consuming.seen == ["1", "2", "3"]


class TestTable:
    """One decision after another."""

    def make(self, concurrency: int = 4) -> tuple[Clock, Isolation, list[int]]:
        clock, resumed = Clock(), list[int]()
        isolation = Isolation(clock, concurrency, lambda: resumed.append(isolation.slots))
        return clock, isolation, resumed

    @pytest.mark.parametrize(("concurrency", "deliveries"), [(1, 9), (4, 1), (4, 2)])
    def test_most_need_not_be_alone(self, concurrency: int, deliveries: int) -> None:
        clock, isolation, _ = self.make(concurrency)
        assert isolation.admits(Entry("1-0", {}, deliveries, again=True), is_idle=False)
        assert isolation.slots == concurrency
        assert not clock.getDelayedCalls()

    def test_one_waits_until_it_is_alone(self) -> None:
        clock, isolation, resumed = self.make()
        entry = Entry("1-0", {}, 3, again=True)
        assert not isolation.admits(entry, is_idle=False)
        assert not isolation.admits(entry, is_idle=False)
        assert isolation.slots == 4
        assert isolation.admits(entry, is_idle=True)
        assert isolation.slots == 1
        isolation.end("another")
        assert isolation.slots == 1
        isolation.end("1-0")
        assert resumed == [4]
        assert not clock.getDelayedCalls()

    def test_one_waits_and_is_alone_for_half_a_minute_each(self) -> None:
        clock, isolation, resumed = self.make()
        entry = Entry("1-0", {}, 3, again=True)
        assert not isolation.admits(entry, is_idle=False)
        clock.advance(30.0)
        assert resumed == [4]
        assert isolation.admits(entry, is_idle=False)
        assert isolation.slots == 1
        clock.advance(30.0)
        assert resumed == [4, 4]
        assert not isolation.admits(Entry("2-0", {}, 3, again=True), is_idle=False)
        isolation.stop()
        assert not clock.getDelayedCalls()
