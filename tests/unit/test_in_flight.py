"""
Tests for L{eventsvc.consumer.in_flight} and L{eventsvc.consumer.setting_aside}: a consumer on a
clock, with handlers as they are: asynchronous, slow, and wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs

from eventsvc.consumer import setting_aside
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, Entry, Notification, encode_notification
from eventsvc.interfaces import Refused, Unknown
from eventsvc.testing import MemoryEventGroup
from tests.support.consumer_world import ConsumerWorld, running_world


@pytest.fixture
def world() -> Iterator[ConsumerWorld]:
    with running_world() as made:
        yield made


def dead(world: ConsumerWorld) -> dict[str, str]:
    """The dead letters, by id: the reason and the error."""
    return {letter["id"]: f"{letter['reason']}: {letter['error']}" for letter in world.stream.dead}


def eager(consumer: Consumer) -> Consumer:
    """Have a consumer read all there is at once, as if it had handled many."""
    consumer._pace.size = 1_000
    return consumer


class Own(BaseException):
    """An exception of somebody who read too little."""


# What is never taken for success


def generate(_: object) -> Iterator[int]:
    yield 1


async def generate_async(_: object) -> Any:
    yield 1


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("handler", [generate, generate_async, lambda _: asyncio.sleep, lambda _: asyncio.Future])
def test_an_event_that_was_not_handled_is_not_acknowledged(
    world: ConsumerWorld, handler: Callable[[object], Any], concurrency: int
) -> None:
    consumer = world.consumer(handler, concurrency=concurrency)
    world.add("a", "b")
    world.run(0.05)
    assert 1 in world.pending
    world.run(20.0)
    assert consumer.in_flight.counts.handled == 0
    assert dead(world).keys() == {"1-0", "2-0"}
    assert all(words.startswith("failed: the handler returned ") for words in dead(world).values())


def test_an_event_is_acknowledged_after_a_flush_that_has_to_be_awaited(world: ConsumerWorld) -> None:
    flushes: list[Deferred[None]] = []

    async def flush() -> None:
        flushes.append(Deferred())
        await flushes[-1]

    consumer = eager(world.consumer(flush=flush))
    world.add("a", "b")
    world.run(0.5)
    world.add("c")
    world.run(1.0)
    assert world.seen == ["a", "b"]  # the next may not begin before these are flushed
    assert world.pending == [1, 2, 3]
    flushes[0].callback(None)
    world.run(1.0)
    assert world.seen == ["a", "b", "c"]
    assert world.pending == [3]
    flushes[1].callback(None)
    world.run(1.0)
    assert world.pending == []
    assert consumer.in_flight.counts.handled == 3


@pytest.mark.parametrize("flush", [lambda: generate(1), lambda: asyncio.sleep])
def test_a_flush_that_nothing_runs_is_a_failure(world: ConsumerWorld, flush: Callable[[], Any]) -> None:
    consumer = world.consumer(flush=flush, max_deliveries=2)
    world.add("a")
    world.run(5.0)
    assert consumer.in_flight.counts.handled == 0
    assert dead(world).keys() == {"1-0"}


def test_an_event_whose_flush_was_that_of_another_is_delivered_again_if_it_failed(world: ConsumerWorld) -> None:
    """Three handlers keep what they have; the flush of the first takes it all, and fails."""
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

    world.consumer(handler, flush=flush, concurrency=3)
    world.add("a", "b", "c")
    world.run(1.0)
    assert kept == ["a", "b", "c"]
    ends["a"].callback(None)
    ends["b"].callback(None)  # its own flush has nothing to do, and must wait for the first
    world.run(1.0)
    assert world.pending == [1, 2, 3]
    flushes[0].errback(OSError("disk full"))
    for _ in range(5):
        world.run(1.0)
        for end in ends.values():
            if not end.called:
                end.callback(None)
    assert sorted(written) == ["a", "b", "c"]
    world.run(1.0)
    assert world.pending == []


# What handlers raise


def _raise(error: BaseException) -> Any:
    raise error


async def _raise_later(error: BaseException) -> Any:
    await succeed(None)
    raise error


def raiser(world: ConsumerWorld, how: str, error: BaseException) -> Callable[[Notification], Any]:
    """A handler that fails on the event C{bad}, in some way."""

    async def later(notification: Notification) -> None:
        await deferLater(world.clock, 0.1)
        if notification.description == "bad":
            raise error
        world.see(notification)

    def now(notification: Notification) -> None:
        if notification.description == "bad":
            raise error
        world.see(notification)

    def failed(notification: Notification) -> Any:
        return fail(error) if notification.description == "bad" else world.see(notification)

    return {"now": now, "later": later, "failed": failed}[how]


HOW = ["now", "later", "failed"]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), CancelledError(), GeneratorExit(), Own(), KeyError("x")])
def test_whatever_a_handler_raises_is_one_failed_delivery(
    world: ConsumerWorld, how: str, error: BaseException, concurrency: int
) -> None:
    """The loop goes on, no slot is lost, and no event is stranded."""
    consumer = world.consumer(raiser(world, how, error), concurrency=concurrency, max_deliveries=3)
    world.add("bad", *"abc", "bad", *"def", "bad", *"ghi", "bad", *"jkl")
    world.run(60.0)
    assert sorted(world.seen) == list("abcdefghijkl")
    assert world.pending == []
    assert dead(world).keys() == {"1-0", "5-0", "9-0", "13-0"}
    assert all(type(error).__name__ in words for words in dead(world).values())
    assert consumer.in_flight.counts.failed == 12
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("x"), KeyboardInterrupt()])
def test_a_handler_that_asks_for_the_end_is_given_it_and_its_event_handed_over(
    world: ConsumerWorld, how: str, error: BaseException, concurrency: int
) -> None:
    said: list[str] = []
    begun: list[str] = []
    begun_before: list[int] = []
    handle = raiser(world, how, error)

    def handler(notification: Notification) -> Any:
        begun.append(notification.description)
        return handle(notification)

    def end(words: str) -> None:
        said.append(words)
        begun_before.append(len(begun))

    world.add("a", "bad", "b", "c", "d", "e", "f")
    consumer = eager(world.consumer(handler, concurrency=concurrency, exit=end, name="first"))
    world.run(10.0)
    assert len(said) == 1
    assert type(error).__name__ in said[0]
    assert 2 in world.pending
    assert begun_before == [len(begun)]  # nothing is begun after
    world.stop(consumer)
    world.consumer(name="second")
    world.run(90.0)
    assert sorted(world.seen) == ["a", "b", "bad", "c", "d", "e", "f"]
    assert world.pending == []


def test_a_flush_that_asks_for_the_end_is_given_it(world: ConsumerWorld) -> None:
    said: list[str] = []
    consumer = world.consumer(flush=lambda: _raise(SystemExit(3)), exit=said.append, name="first")
    world.add("a", "b", "c")
    with capturedLogs() as logs:
        world.run(5.0)
    assert said == ["the handler raised SystemExit: 3"]
    assert [event["id"] for event in logs if "log_failure" in event] == ["1-0"]
    assert world.pending == [1]
    world.stop(consumer)
    assert dead(world) == {}


def test_an_event_that_always_fails_is_delivered_five_times_unless_told_otherwise(world: ConsumerWorld) -> None:
    """Each failure is in the log, with the event and its delivery."""
    world.consumer(raiser(world, "now", KeyError("x")))
    world.add("bad")
    with capturedLogs() as logs:
        world.run(10.0)
    failures = [(event["id"], event["count"]) for event in logs if "log_failure" in event]
    assert failures == [("1-0", delivery) for delivery in range(1, 6)]
    assert dead(world) == {"1-0": "failed: KeyError: 'x'"}


def test_a_delivery_that_cannot_be_counted_goes_on(world: ConsumerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler is not kept waiting for a number."""
    monkeypatch.setattr(MemoryEventGroup, "count_delivery", lambda *_: fail(Refused("OOM")))
    world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=3)
    world.add("bad", "a")
    with capturedLogs() as logs:
        world.run(5.0)
    assert world.seen == ["a"]
    assert dead(world).keys() == {"1-0"}
    assert [event["id"] for event in logs if event["log_level"] is LogLevel.debug] == ["1-0", "1-0"]


# Setting aside


class Memory:
    """Whether the server has memory for dead letters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = Refused("OOM command not allowed")
        self.refused: list[tuple[float, str]] = []
        set_aside = MemoryEventGroup.set_aside

        def guarded(group: MemoryEventGroup, id: str, *rest: Any) -> Deferred[bool]:
            if self.error is None:
                return set_aside(group, id, *rest)
            self.refused.append((group.stream.clock.seconds(), id))
            return fail(self.error)

        monkeypatch.setattr(MemoryEventGroup, "set_aside", guarded)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("error", [Refused("OOM"), Unknown("no reply"), ValueError("unexpected")])
def test_an_entry_that_cannot_be_set_aside_holds_up_nothing(
    world: ConsumerWorld, memory: Memory, concurrency: int, error: Exception
) -> None:
    """It stays ours, is tried again with growing pauses, told once, counted, and set aside at last."""
    memory.error = error
    consumer = world.consumer(
        raiser(world, "now", KeyError("x")), concurrency=concurrency, max_deliveries=2, name="first"
    )
    world.add("a", "bad", "b")
    world.stream.add({EVENT_FIELD: b"{"})
    world.add("c", "d")
    with capturedLogs() as logs:
        world.run(5.0)
        assert world.seen == list("abcd")
        assert world.pending == [2, 4]
        world.consumer(name="second")
        world.run(300.0)
    assert world.pending == [2, 4]
    assert {pending.consumer for pending in world.stream.groups["group"].pending.values()} == {"first"}
    assert len(consumer.in_flight.aside) == 2
    assert consumer.in_flight.load == 0
    assert 20 < consumer.in_flight.aside.refused == len(memory.refused) < 60
    assert {id for _, id in memory.refused[-4:]} == {"2-0", "4-0"}
    told = [event for event in logs if "cannot be set aside" in event["log_format"]]
    assert len(told) == 1
    memory.error = None
    world.add("e")
    world.run(16.0)
    assert sorted(letter["id"] for letter in world.stream.dead) == ["2-0", "4-0"]
    assert world.pending == []
    assert consumer.in_flight.counts.dead == 2
    assert consumer.in_flight.entries == {}


def test_pauses_between_attempts_to_set_aside_grow(world: ConsumerWorld, memory: Memory) -> None:
    """From half a second to a quarter of a minute, less what chance takes off: a quarter here."""
    world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1)
    world.add("bad")
    world.run(60.0)
    times = [time for time, _ in memory.refused]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == pytest.approx([0.375, 0.75, 1.5, 3.0, 6.0, 11.25, 11.25, 11.25, 11.25])
    memory.error = None


def test_a_failed_delivery_is_a_warning_and_a_dead_letter_an_error(world: ConsumerWorld) -> None:
    """The first is tried again by itself; the second waits for somebody."""
    with capturedLogs() as logs:
        world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=2)
        world.add("bad")
        world.run(5.0)
    told = [(event["log_level"], "log_failure" in event, event.get("details")) for event in logs]
    failed = (LogLevel.warn, True, None)
    assert told == [failed, failed, (LogLevel.error, False, {"alarm": "dead_letter"})]


def test_memory_that_runs_out_again_is_told_again(world: ConsumerWorld, memory: Memory) -> None:
    consumer = world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1)
    with capturedLogs() as logs:
        for _ in range(3):
            memory.error = Refused("OOM command not allowed")
            world.add("bad")
            world.run(5.0)
            assert len(consumer.in_flight.aside) == 1
            memory.error = None
            world.run(20.0)
            assert len(consumer.in_flight.aside) == 0
    assert dead(world).keys() == {"1-0", "2-0", "3-0"}
    assert len([event for event in logs if "cannot be set aside" in event["log_format"]]) == 3


def test_an_entry_that_is_dropped_while_it_is_being_set_aside_stops_nothing(
    world: ConsumerWorld, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = eager(world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1))
    world.add("bad", "bad")
    world.run(0.2)
    assert len(consumer.in_flight.aside) == 2
    replies: list[Deferred[bool]] = []

    def wait(*_: object) -> Deferred[bool]:
        replies.append(Deferred())
        return replies[-1]

    with monkeypatch.context() as patch:
        patch.setattr(MemoryEventGroup, "set_aside", wait)
        world.run(1.0)
        assert len(replies) == 1
        del world.stream.groups["group"].pending[1]
        consumer.in_flight.drop(["1-0"])
        replies[0].errback(Refused("OOM"))
        world.run(0.1)
    memory.error = None
    world.run(20.0)
    assert dead(world).keys() == {"2-0"}
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("name", ["count_delivery", "set_aside"])
def test_nothing_begins_after_the_drain_timeout_although_a_call_was_under_way(
    world: ConsumerWorld, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A call that is given up is no refusal, after which one would go on."""
    monkeypatch.setattr(MemoryEventGroup, name, lambda *_: Deferred())

    def handler(notification: Notification) -> None:
        world.see(notification)
        raise KeyError("x")

    consumer = world.consumer(handler, max_deliveries=1, drain_timeout=1.0)
    again = name == "count_delivery"
    world.add("bad")
    world.run(0.001)
    consumer.in_flight.take([Entry("1-0", world.stream.entries[1], 1 + again, again)])
    world.run(0.2)
    seen = len(world.seen)
    with capturedLogs() as logs:
        world.stop(consumer)
        world.run(10.0)
    assert len(world.seen) == seen == (0 if again else 1)
    assert len(consumer.in_flight.aside) == 0
    assert [event for event in logs if "cannot be" in event.get("log_format", "")] == []
    assert [event for event in logs if event["log_level"] >= LogLevel.error] == []


def test_an_event_that_waits_to_be_set_aside_is_not_kept(world: ConsumerWorld, memory: Memory) -> None:
    """Its id and a short text are enough: a thousand of them may wait."""
    consumer = world.consumer(lambda _: _raise(ValueError("x" * 10_000)), max_deliveries=1)
    world.add("a" * 100_000)
    world.run(5.0)
    assert [entry.fields for entry in consumer.in_flight.entries.values()] == [None]
    [letter] = consumer.in_flight.aside._waiting
    assert len(letter.error) == 2_000
    memory.error = None


def test_an_entry_of_another_waits_beside_the_line_no_more(world: ConsumerWorld, memory: Memory) -> None:
    consumer = eager(world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1))
    world.add("bad", "bad")
    world.run(5.0)
    assert len(consumer.in_flight.aside) == 2
    del world.stream.groups["group"].pending[1]  # another has handled it
    consumer.in_flight.drop(["1-0", "9-0"])
    assert list(consumer.in_flight.entries) == ["2-0"]
    assert consumer.in_flight.load == 0
    memory.refused.clear()
    world.run(14.0)
    assert {id for _, id in memory.refused} == {"2-0"}
    memory.error = None
    world.run(14.0)
    assert dead(world).keys() == {"2-0"}
    assert consumer.in_flight.counts.dead == 1


def test_a_failed_flush_of_many_that_cannot_be_set_aside_leaves_none_behind(
    world: ConsumerWorld, memory: Memory
) -> None:
    world.add("a", "b", "c")
    consumer = eager(world.consumer(flush=lambda: _raise(OSError("disk full")), max_deliveries=1))
    world.run(0.5)
    assert len(consumer.in_flight.aside) == 3
    memory.error = None


def test_only_so_many_wait_beside_the_line(
    world: ConsumerWorld, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_aside, "MOST", 3)
    consumer = world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1)
    world.add(*["bad"] * 5, "a")
    world.run(60.0)
    assert world.seen == []
    assert len(consumer.in_flight.aside) == 3
    memory.error = None
    world.run(60.0)
    assert world.seen == ["a"]
    assert len(dead(world)) == 5


def test_a_stop_hands_over_what_waits_to_be_set_aside(world: ConsumerWorld, memory: Memory) -> None:
    consumer = world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1, name="first")
    world.add("bad", "a")
    world.run(5.0)
    world.stop(consumer)
    refused = len(memory.refused)
    world.run(60.0)
    assert len(memory.refused) == refused
    memory.error = None
    world.consumer(name="second")
    world.run(5.0)
    assert world.seen == ["a", "bad"]
    assert dead(world) == {}


def test_an_entry_that_is_not_ours_is_not_set_aside_nor_counted(
    world: ConsumerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryEventGroup, "set_aside", lambda *_: succeed(False))
    consumer = world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1)
    world.add("bad", "a")
    world.run(5.0)
    assert world.seen == ["a"]
    assert consumer.in_flight.counts.dead == 0
    assert world.pending == [1]
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("fields", [{b"x" * 3_000_000: b"1"}, {EVENT_FIELD: b'{"id":' + b"9" * 3_000_000}])
def test_the_text_of_a_malformed_entry_is_cut_too(world: ConsumerWorld, fields: dict[bytes, bytes]) -> None:
    world.consumer()
    world.stream.add(fields)
    world.run(1.0)
    assert len(world.stream.dead[0]["error"]) <= 2_000


# Slices


def test_plain_handlers_have_the_reactor_for_a_slice_at_a_time(world: ConsumerWorld) -> None:
    """Between two slices what is done is acknowledged, and whoever waits for the reactor has it."""
    unacknowledged: list[int] = []
    turns: list[float] = []

    def handler(notification: Notification) -> None:
        unacknowledged.append(len([place for place in world.pending if place <= len(world.seen)]))
        world.see(notification)
        world.clock.rightNow += 0.01

    def turn() -> None:
        turns.append(world.clock.seconds())
        if len(world.seen) < 1_000:
            world.clock.callLater(0.02, turn)

    consumer = world.consumer(handler)
    slices: list[int] = []
    acknowledge = consumer.in_flight.after_slice

    def after_slice() -> None:
        slices.append(len(world.seen))
        acknowledge()

    consumer.in_flight.after_slice = after_slice
    world.add(*[f"{number}" for number in range(1_000)])
    turn()
    world.run(60.0)
    assert 150 <= len(slices) <= 250
    assert world.seen == [f"{number}" for number in range(1_000)]
    assert max(after - before for before, after in pairwise(turns)) < 0.08
    # The slice itself, and the one before, whose acknowledgement may be on its way.
    assert max(unacknowledged) <= 15


def test_each_event_longer_than_a_slice_is_followed_by_a_turn(world: ConsumerWorld) -> None:
    turns: list[int] = []

    def handler(notification: Notification) -> None:
        world.see(notification)
        world.clock.rightNow += 0.06

    def turn() -> None:
        turns.append(len(world.seen))
        if len(world.seen) < 8:
            world.clock.callLater(0.001, turn)

    eager(world.consumer(handler))
    turn()
    world.add(*"abcdefgh")
    world.run(10.0)
    assert set(turns) == set(range(9))


def test_a_stop_ends_a_line_of_plain_handlers_after_the_slice(world: ConsumerWorld) -> None:
    def handler(notification: Notification) -> None:
        world.see(notification)
        world.clock.rightNow += 0.06
        if len(world.seen) == 10:
            world.clock.callLater(0, world.stop, consumer)

    consumer = eager(world.consumer(handler, name="first"))
    world.add(*[f"{number}" for number in range(100)])
    world.run(30.0)
    assert len(world.seen) == 10
    assert world.pending == list(range(11, 101))  # all that was handled is acknowledged


def test_a_connection_that_is_lost_during_a_slice_stops_nothing(world: ConsumerWorld) -> None:
    def handler(notification: Notification) -> None:
        world.see(notification)
        world.clock.rightNow += 0.02
        if len(world.seen) % 10 == 0:
            group = consumer.group
            assert isinstance(group, MemoryEventGroup)
            if group.link.connected:
                group.link.cut()

    world.add(*[f"{number}" for number in range(100)])
    consumer = eager(world.consumer(handler))
    world.run(60.0)
    assert list(dict.fromkeys(world.seen)) == [f"{number}" for number in range(100)]
    assert len(world.seen) == 100  # an acknowledgement that was lost is sent again
    assert world.pending == []


# Order


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_order_is_kept_after_a_failed_flush(world: ConsumerWorld, seconds: float) -> None:
    """
    What was flushed together is delivered again one by one, before what came
    after: also if a slice ended there, and others wait in the line.
    """
    kept: list[str] = []
    written: list[str] = []
    fails = iter([True, True, False, False, True, True, False])

    def handler(notification: Notification) -> None:
        world.clock.rightNow += seconds
        kept.append(notification.description)

    def flush() -> None:
        taken = kept[:]
        kept.clear()
        if next(fails, False):
            raise OSError("disk full")
        written.extend(taken)

    world.add(*"123456789")
    consumer = eager(world.consumer(handler, flush=flush))
    world.run(30.0)
    assert written == list("123456789")
    assert world.pending == []
    assert consumer.in_flight.counts.redelivered >= 5


def test_order_is_kept_after_an_awaited_flush_failed(world: ConsumerWorld) -> None:
    kept: list[str] = []
    written: list[str] = []
    fails = iter([False, True, False, True])

    async def flush() -> None:
        taken = kept[:]
        kept.clear()
        await deferLater(world.clock, 0.3)
        if next(fails, False):
            raise OSError("disk full")
        written.extend(taken)

    eager(world.consumer(lambda event: kept.append(event.description), flush=flush))
    for group in ("12", "345", "6789"):
        world.add(*group)
        world.run(0.4)
    world.run(30.0)
    assert written == list("123456789")


def test_each_event_of_a_failed_flush_has_all_its_deliveries(world: ConsumerWorld) -> None:
    """The one that failed together with others is counted for each of them."""
    world.add("a", "b", "c")
    consumer = eager(world.consumer(flush=lambda: _raise(OSError("disk full")), max_deliveries=3))
    world.run(10.0)
    assert world.seen == [*"abc", *"aa", *"bb", *"cc"]
    assert [letter["deliveries"] for letter in world.stream.dead] == ["3", "3", "3"]
    assert (consumer.in_flight.counts.failed, consumer.in_flight.counts.redelivered) == (7, 6)


def test_handlers_that_have_ended_already_take_no_stack(world: ConsumerWorld) -> None:
    """A thousand Deferreds that have fired, one after the other."""

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        return succeed(None)

    consumer = world.consumer(handler)
    event = encode_notification(Notification(1, "x", "now"))
    consumer.in_flight.take([Entry(f"{number}-0", {EVENT_FIELD: event}) for number in range(1_000)])
    assert len(world.seen) == 1_000
    assert consumer.in_flight.counts.failed == 0


def test_an_entry_in_flight_is_not_taken_again(world: ConsumerWorld) -> None:
    """Neither while it waits, nor while the handler is at it: it is read again after each reconnection."""
    ends: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        ends.append(Deferred())
        return ends[-1]

    world.add("a", "b", "c")
    consumer = eager(world.consumer(handler, concurrency=2))
    world.run(1.0)
    for _ in range(3):
        consumer.in_flight.take([Entry(f"{n}-0", world.stream.entries[n], 2, again=True) for n in (1, 2, 3)])
        world.run(1.0)
    for number in range(3):
        ends[number].callback(None)
        world.run(1.0)
    assert world.seen == ["a", "b", "c"]
    assert world.pending == []


# What another has taken over


def take_over(world: ConsumerWorld, *places: int) -> None:
    """Have another consumer claim these."""
    for place in places:
        world.stream.groups["group"].pending[place].consumer = "other"


def test_entries_of_another_are_not_begun(world: ConsumerWorld) -> None:
    """It handles them: twice would be once too often."""
    handling: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        handling.append(Deferred())
        return handling[-1]

    consumer = world.consumer(handler, concurrency=1)
    world.add(*"abcdef")
    world.run(1.0)
    consumer.in_flight.take([Entry(f"{n}-0", world.stream.entries[n]) for n in range(2, 7)])
    consumer.in_flight.drop(["1-0", "3-0", "4-0", "9-0"])
    while len(world.seen) > len([work for work in handling if work.called]):
        handling[len(world.seen) - 1].callback(None)
    assert world.seen[:4] == ["a", "b", "e", "f"]
    assert consumer.in_flight.entries == {}
    for work in handling:
        if not work.called:
            work.callback(None)


def test_a_renewal_that_tells_of_another_owner_drops_its_entries(world: ConsumerWorld) -> None:
    handling: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        handling.append(Deferred())
        return handling[-1]

    consumer = world.consumer(handler, claim_idle=30.0)
    world.add("a")
    world.run(1.0)
    world.add("b", "c", "d")
    consumer.in_flight.take([Entry(f"{n}-0", world.stream.entries[n]) for n in (2, 3, 4)])
    world.run(0.5)
    group = world.stream.groups["group"]
    assert set(group.pending) == {1}
    world.run(12.0)  # 2, 3 and 4 are pending with nobody here
    assert set(consumer.in_flight.entries) <= {"1-0"}
    handling[0].callback(None)
    world.run(1.0)
    assert world.seen[0] == "a"
    for work in handling[1:]:
        work.callback(None)
    world.run(1.0)
    for work in handling:
        if not work.called:
            work.callback(None)


def test_an_event_that_failed_is_not_begun_again_once_it_is_anothers(world: ConsumerWorld) -> None:
    ends: list[Deferred[None]] = []

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        ends.append(Deferred())
        return ends[-1]

    consumer = world.consumer(handler, name="first")
    world.add("a")
    world.run(1.0)
    take_over(world, 1)
    consumer.in_flight.drop(["1-0"])
    ends[0].errback(KeyError("x"))
    world.run(5.0)
    assert world.seen == ["a"]
    assert consumer.in_flight.entries == {}
    assert world.pending == [1]
    consumer.in_flight.take([Entry("1-0", world.stream.entries[1], 2, again=True)])  # it comes back to us
    world.run(1.0)
    assert world.seen == ["a", "a"]
    consumer.in_flight.drop(["1-0"])
    consumer.in_flight.take([Entry("1-0", world.stream.entries[1], 2, again=True)])  # while the handler is at it
    ends[1].errback(KeyError("x"))
    world.run(1.0)
    assert world.seen == ["a", "a", "a"]
    consumer.in_flight.drop(["1-0"])
    ends[2].callback(None)  # this was its last time, but it comes back once more
    consumer.in_flight.take([Entry("1-0", world.stream.entries[1], 2, again=True)])
    world.run(1.0)
    ends[3].errback(KeyError("x"))
    world.run(1.0)
    assert world.seen == ["a"] * 5
    ends[4].callback(None)


def test_what_a_failed_flush_puts_back_is_not_begun_if_it_is_anothers(world: ConsumerWorld) -> None:
    flushes: list[Deferred[None]] = []

    def flush() -> Deferred[None]:
        flushes.append(Deferred())
        return flushes[-1]

    world.add("a", "b")
    consumer = eager(world.consumer(flush=flush))
    world.run(1.0)
    assert world.seen == ["a", "b"]
    consumer.in_flight.drop(["2-0"])
    flushes[0].errback(OSError("x"))
    world.run(1.0)
    assert world.seen == ["a", "b", "a"]
    flushes[1].callback(None)
    world.run(1.0)
    assert world.seen == ["a", "b", "a"]
    assert world.pending == [2]


# How it ends


@pytest.mark.parametrize("concurrency", [1, 3])
def test_handlers_that_do_not_end_are_cancelled_after_the_drain_timeout(world: ConsumerWorld, concurrency: int) -> None:
    """Not before, and not twice; what they do then counts for nothing."""
    cancelled: list[float] = []

    async def handler(notification: Notification) -> None:
        world.see(notification)
        try:
            await deferLater(world.clock, 1_000.0)
        except CancelledError:
            cancelled.append(world.clock.seconds())
            raise

    consumer = world.consumer(handler, concurrency=concurrency, drain_timeout=4.0, name="first")
    world.add(*"abc")
    world.run(1.0)
    begun = len(world.seen)
    stopped = world.clock.seconds()
    with capturedLogs() as logs:
        world.stop(consumer)
    assert [time - stopped for time in cancelled] == [4.0] * begun == [4.0] * concurrency
    assert [event for event in logs if event["log_level"] >= LogLevel.error] == []
    assert world.pending == [1, 2, 3][: len(world.pending)]
    assert consumer.in_flight.counts.failed == 0


def test_a_stop_begins_no_more_and_ends_with_the_last_that_was_begun(world: ConsumerWorld) -> None:
    """Two handlers are at work, and others wait in the line."""
    ends: dict[str, Deferred[None]] = {}

    def handler(notification: Notification) -> Deferred[None]:
        world.see(notification)
        ends[notification.description] = Deferred()
        return ends[notification.description]

    world.add(*"abcde")
    consumer = eager(world.consumer(handler, concurrency=2, drain_timeout=100.0))
    world.run(1.0)
    world.consumers.remove(consumer)
    stopped: list[None] = []
    consumer.stopService().addCallback(stopped.append)
    world.run(1.0)
    ends["b"].callback(None)
    world.run(1.0)
    assert (world.seen, stopped) == (["a", "b"], [])
    ends["a"].callback(None)
    world.run(1.0)
    assert (world.seen, stopped) == (["a", "b"], [None])
    assert world.pending == [3, 4, 5]


def test_nothing_is_tried_after_a_stop_that_gave_up(world: ConsumerWorld, memory: Memory) -> None:
    consumer = eager(world.consumer(raiser(world, "now", KeyError("x")), max_deliveries=1, drain_timeout=1.0))
    world.add("bad")
    world.run(5.0)
    consumer.in_flight.handler = lambda _: Deferred()
    world.add("a")
    world.run(1.0)
    world.stop(consumer)
    memory.refused.clear()
    world.run(60.0)
    assert memory.refused == []


def test_a_handler_that_ends_well_although_it_is_cancelled_has_handled_its_event(world: ConsumerWorld) -> None:
    async def handler(notification: Notification) -> None:
        try:
            await deferLater(world.clock, 1_000.0)
        except CancelledError:
            world.see(notification)

    consumer = world.consumer(handler, drain_timeout=1.0)
    world.add("a")
    world.run(1.0)
    world.stop(consumer)
    assert world.seen == ["a"]
    assert world.pending == []


def test_a_flush_under_way_is_waited_for_at_the_end(world: ConsumerWorld) -> None:
    consumer = world.consumer(flush=lambda: deferLater(world.clock, 2.0), drain_timeout=5.0)
    world.add("a")
    world.run(1.0)
    world.stop(consumer)
    assert world.pending == []


def test_a_flush_that_does_not_end_is_given_up_after_the_drain_timeout(world: ConsumerWorld) -> None:
    consumer = world.consumer(flush=lambda: Deferred(), drain_timeout=2.0, name="first")
    world.add("a", "b")
    world.run(1.0)
    world.stop(consumer)
    world.consumer(name="second")
    world.run(5.0)
    assert world.seen == ["a", "a", "b"]
    assert world.pending == []
