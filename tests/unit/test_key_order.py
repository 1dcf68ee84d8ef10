"""
Tests for L{eventsvc.consumer.key_order}: events of one key in their order, while
others overtake.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from eventsvc.consumer.key_order import KeyOrder
from eventsvc.consumer.line import Line
from eventsvc.event import EVENT_FIELD, Entry, Notification, encode_notification
from tests.support.consumer_world import ConsumerWorld, eager, running_world


def add(world: ConsumerWorld, *events: str) -> None:
    """Put events into the stream; what comes before the colon is the key."""
    for event in events:
        key, _, text = event.rpartition(":")
        world.stream.add({EVENT_FIELD: encode_notification(Notification(1, text, "now", key=key or None))})


class Held:
    """A handler whose calls end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: dict[str, Deferred[None]] = {}

    def __call__(self, notification: Notification) -> Deferred[None]:
        text = notification.description
        self.begun.append(text)
        self.ends[text] = Deferred()
        return self.ends[text]

    def batch(self, batch: list[Notification]) -> Deferred[None]:
        text = " ".join(notification.description for notification in batch)
        self.begun.append(text)
        self.ends[text] = Deferred()
        return self.ends[text]


def test_events_of_one_key_wait_for_each_other_and_others_overtake(consuming: ConsumerWorld) -> None:
    held = Held()
    add(consuming, "k:1", "k:2", "k:3", "4", "j:5", "6", "j:7")
    consumer = eager(consuming.consumer(held, concurrency=3))
    consuming.run(1.0)
    assert held.begun == ["1", "4", "5"]
    held.ends["4"].callback(None)
    consuming.run(1.0)
    assert held.begun[3:] == ["6"]
    held.ends["6"].callback(None)
    consuming.run(1.0)
    assert held.begun[4:] == []  # a slot is free, but only events of busy keys are left
    held.ends["1"].callback(None)
    consuming.run(1.0)
    assert held.begun[4:] == ["2"]
    for text in "5273":
        held.ends[text].callback(None)
        consuming.run(1.0)
    assert consuming.pending == []
    assert consumer.in_flight.entries == {}


def test_an_event_that_is_retried_holds_up_those_of_its_key_alone(consuming: ConsumerWorld) -> None:
    begun: list[str] = []

    async def handler(notification: Notification) -> None:
        begun.append(notification.description)
        if notification.description == "bad":
            raise ValueError("x")

    add(consuming, "k:bad", "k:after", "1", "j:2")
    eager(consuming.consumer(handler, concurrency=2, max_deliveries=3))
    consuming.run(10.0)
    assert begun == ["bad", "1", "2", "bad", "bad", "after"]
    assert consuming.pending == []


def test_many_of_one_key_do_not_keep_others_from_being_read(consuming: ConsumerWorld) -> None:
    held = Held()
    add(consuming, *[f"k:{number}" for number in range(300)], "other")
    consumer = consuming.consumer(held, concurrency=2)
    consumer._pace.most = 20
    consuming.run(5.0)
    assert held.begun == ["0", "other"]


def test_what_another_has_claimed_gives_its_turn_away(consuming: ConsumerWorld) -> None:
    held = Held()
    add(consuming, "k:1", "k:2", "k:3", "k:4")
    consumer = eager(consuming.consumer(held, concurrency=2))
    consuming.run(1.0)
    consumer.in_flight.drop(["2-0", "3-0"])
    held.ends["1"].callback(None)
    consuming.run(1.0)
    assert held.begun == ["1", "4"]
    held.ends["4"].callback(None)
    consuming.run(1.0)
    assert consumer.in_flight.entries == {}
    assert consuming.pending == [2, 3]


def test_a_batch_has_the_events_of_a_key_in_order_and_no_other_batch_has_any(consuming: ConsumerWorld) -> None:
    held = Held()
    add(consuming, "k:1", "k:2", "3", "k:4", "5", "j:6")
    eager(consuming.consumer(batch=held.batch, batch_size=3, concurrency=2))
    consuming.run(1.0)
    assert held.begun == ["1 2 3", "5 6"]
    held.ends["1 2 3"].callback(None)
    consuming.run(1.0)
    assert held.begun[2:] == ["4"]
    for end in held.ends.values():
        if not end.called:
            end.callback(None)
    consuming.run(1.0)
    assert consuming.pending == []


@pytest.mark.parametrize("batch_size", [0, 2])
def test_a_handler_that_returns_at_once_gives_the_turn_of_a_key_away(consuming: ConsumerWorld, batch_size: int) -> None:
    """An event that waited behind another of its key, and is then handled without a wait."""
    handled: list[str] = []
    first: Deferred[None] = Deferred()

    def handle(notification: Notification) -> Deferred[None] | None:
        handled.append(notification.description)
        return first if notification.description == "1" else None

    def handle_batch(batch: list[Notification]) -> Deferred[None] | None:
        return next(iter([handle(notification) for notification in batch]))

    kind: dict[str, Any] = {"batch": handle_batch, "batch_size": batch_size} if batch_size else {"handler": handle}
    add(consuming, "k:1", "j:2", "k:3", "k:4", "j:5", "6", "k:7")
    consumer = eager(consuming.consumer(concurrency=2, **kind))
    consuming.run(1.0)
    first.callback(None)
    consuming.run(1.0)
    add(consuming, "k:8", "j:9")
    consuming.run(1.0)
    assert [text for text in handled if text in "13478"] == list("13478")
    assert sorted(handled) == list("123456789")
    assert consuming.pending == []
    assert consumer.in_flight._dispatch.line._keys._lanes == {}


def test_a_batch_takes_no_event_before_those_of_its_key_that_wait(consuming: ConsumerWorld) -> None:
    held = Held()
    add(consuming, "k:1", "2", "k:3", "k:4", "5", "6", "k:7")
    eager(consuming.consumer(batch=held.batch, batch_size=2, concurrency=2))
    consuming.run(1.0)
    assert held.begun == ["1 2", "5 6"]
    held.ends["1 2"].callback(None)
    consuming.run(1.0)
    assert held.begun[2:] == ["3"]
    for texts in ("5 6", "3", "4", "7"):
        held.ends[texts].callback(None)
        consuming.run(1.0)
    assert held.begun == ["1 2", "5 6", "3", "4", "7"]
    assert consuming.pending == []


EVENTS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 3), st.integers(0, 4)), max_size=40)


@settings(deadline=None)
@given(EVENTS, st.integers(2, 6), st.sampled_from([0, 1, 4]))
def test_whatever_fails_and_however_long_it_takes_the_order_of_each_key_is_kept(
    events: list[tuple[str, int, int]], concurrency: int, batch_size: int
) -> None:
    """Events that fail so often, and take so long; none is handled before those of its key that came before."""
    with running_world() as world:
        handled: dict[str, list[int]] = {}
        failures = dict(enumerate(failing for _, failing, _ in events))

        async def handle(notification: Notification) -> None:
            number = int(notification.description)
            await deferLater(world.clock, 0.1 * events[number][2])
            if failures[number]:
                failures[number] -= 1
                raise ValueError("not yet")
            handled.setdefault(notification.key or "", []).append(number)

        async def handle_batch(batch: list[Notification]) -> None:
            if any(failures[int(notification.description)] for notification in batch[1:]):
                raise OSError("as a whole")
            for notification in batch:
                await handle(notification)

        kind: dict[str, Any] = {"batch": handle_batch, "batch_size": batch_size} if batch_size else {"handler": handle}
        add(world, *[f"{key}:{number}" for number, (key, _, _) in enumerate(events)])
        eager(world.consumer(concurrency=concurrency, **kind))
        world.run(120.0)
        assert world.pending == []
        assert world.dead == {}
        assert sorted({number for numbers in handled.values() for number in numbers}) == list(range(len(events)))
        for key in "abc":
            firsts = list(dict.fromkeys(handled.get(key, [])))
            assert firsts == sorted(firsts)


@pytest.mark.parametrize("begun", [True, False])
def test_a_turn_that_is_dropped_goes_to_the_next(begun: bool) -> None:
    order, first, second, third = KeyOrder(), Entry("1-0", {}), Entry("2-0", {}), Entry("3-0", {})
    assert order.admits("k", first)
    order.begin("k", "1-0")
    assert not order.admits("k", second)
    assert not order.admits("k", third)
    assert order.end("k") is second
    if begun:
        order.begin("k", "2-0")
    assert order.drop({"2-0"}) == ([], [] if begun else [third])
    assert order.waiting == (1 if begun else 0)


def test_an_entry_is_put_back_before_those_that_came_after_it() -> None:
    """Also if an older one was claimed since, which stands at the end of the line."""
    line = Line(one_at_a_time=True)
    line.entries.extend([Entry("11-0", {}), Entry("3-0", {})])
    line.put_back([(Entry("10-0", {}), Notification(1, "x", "now"))])
    assert [entry.id for entry in line.entries] == ["10-0", "11-0", "3-0"]
