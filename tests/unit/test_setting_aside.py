"""
Tests for L{eventsvc.consumer.setting_aside}: entries that no handler can process, while
the server has memory for them and while it has none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs

from eventsvc.consumer import setting_aside
from eventsvc.errors import Reject
from eventsvc.event import EVENT_FIELD, Entry, Notification
from eventsvc.interfaces import Refused, Unknown
from eventsvc.testing import MemoryEventGroup
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import raise_now, raiser


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
    consuming: ConsumerWorld, memory: Memory, concurrency: int, error: Exception
) -> None:
    """It stays ours, is retried with growing pauses, logged once, counted, and finally set aside."""
    memory.error = error
    consumer = consuming.consumer(
        raiser(consuming, "now", KeyError("x")), concurrency=concurrency, max_deliveries=2, name="first"
    )
    consuming.add("a", "bad", "b")
    consuming.stream.add({EVENT_FIELD: b"{"})
    consuming.add("c", "d")
    with capturedLogs() as logs:
        consuming.run(5.0)
        assert consuming.seen == list("abcd")
        assert consuming.pending == [2, 4]
        consuming.consumer(name="second")
        consuming.run(300.0)
    assert consuming.pending == [2, 4]
    assert {pending.consumer for pending in consuming.stream.groups["group"].pending.values()} == {"first"}
    assert len(consumer.in_flight.aside) == 2
    assert consumer.in_flight.load == 0
    assert 20 < consumer.in_flight.aside.refused == len(memory.refused) < 60
    assert {id for _, id in memory.refused[-4:]} == {"2-0", "4-0"}
    told = [event for event in logs if "cannot set entry" in event["log_format"]]
    assert len(told) == 1
    memory.error = None
    consuming.add("e")
    consuming.run(16.0)
    assert sorted(letter["id"] for letter in consuming.stream.dead) == ["2-0", "4-0"]
    assert consuming.pending == []
    assert consumer.in_flight.counts.dead == 2
    assert consumer.in_flight.entries == {}


def test_pauses_between_attempts_to_set_aside_grow(consuming: ConsumerWorld, memory: Memory) -> None:
    """From half a second to 15 seconds, minus jitter: a quarter here."""
    consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1)
    consuming.add("bad")
    consuming.run(60.0)
    times = [time for time, _ in memory.refused]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == pytest.approx([0.375, 0.75, 1.5, 3.0, 6.0, 11.25, 11.25, 11.25, 11.25])
    memory.error = None


def test_a_failed_delivery_is_a_warning_and_a_dead_letter_an_error(consuming: ConsumerWorld) -> None:
    """The first is retried automatically; the second needs an operator."""
    with capturedLogs() as logs:
        consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=2)
        consuming.add("bad")
        consuming.run(5.0)
    told = [(event["log_level"], "log_failure" in event, event.get("details")) for event in logs]
    failed = (LogLevel.warn, True, None)
    assert told == [failed, failed, (LogLevel.error, False, {"alarm": "dead_letter"})]


def test_memory_that_runs_out_again_is_told_again(consuming: ConsumerWorld, memory: Memory) -> None:
    consumer = consuming.consumer(raiser(consuming, "now", Reject("x")), max_deliveries=1)
    with capturedLogs() as logs:
        for _ in range(3):
            memory.error = Refused("OOM command not allowed")
            consuming.add("bad")
            consuming.run(5.0)
            assert len(consumer.in_flight.aside) == 1
            memory.error = None
            consuming.run(20.0)
            assert len(consumer.in_flight.aside) == 0
    assert consuming.dead.keys() == {"1-0", "2-0", "3-0"}
    assert len([event for event in logs if "cannot set entry" in event["log_format"]]) == 3


def test_an_entry_that_is_dropped_while_it_is_being_set_aside_stops_nothing(
    consuming: ConsumerWorld, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = eager(consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1))
    consuming.add("bad", "bad")
    consuming.run(0.2)
    assert len(consumer.in_flight.aside) == 2
    replies: list[Deferred[bool]] = []

    def wait(*_: object) -> Deferred[bool]:
        replies.append(Deferred())
        return replies[-1]

    with monkeypatch.context() as patch:
        patch.setattr(MemoryEventGroup, "set_aside", wait)
        consuming.run(1.0)
        assert len(replies) == 1
        del consuming.stream.groups["group"].pending[1]
        consumer.in_flight.drop(["1-0"])
        replies[0].errback(Refused("OOM"))
        consuming.run(0.1)
    memory.error = None
    consuming.run(20.0)
    assert consuming.dead.keys() == {"2-0"}
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("name", ["count_delivery", "set_aside"])
def test_nothing_begins_after_the_drain_timeout_although_a_call_was_under_way(
    consuming: ConsumerWorld, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A cancelled call must not be treated as a refusal, after which the next would begin."""
    call = getattr(MemoryEventGroup, name)
    hanging = iter([Deferred[bool]()])
    monkeypatch.setattr(MemoryEventGroup, name, lambda *arguments: next(hanging, None) or call(*arguments))

    def handler(notification: Notification) -> None:
        consuming.see(notification)
        raise KeyError("x")

    consumer = consuming.consumer(handler, max_deliveries=1, drain_timeout=1.0)
    again = name == "count_delivery"
    consuming.add("bad")
    consuming.run(0.001)
    consumer.in_flight.take([Entry("1-0", consuming.stream.entries[1], 1 + again, again)])
    consuming.run(0.2)
    seen = len(consuming.seen)
    with capturedLogs() as logs:
        consuming.stop(consumer)
        consuming.run(10.0)
    assert len(consuming.seen) == seen == (0 if again else 1)
    assert len(consumer.in_flight.aside) == 0
    assert [event for event in logs if event.get("log_format", "").startswith("cannot")] == []
    assert [event for event in logs if event["log_level"] >= LogLevel.error] == []


def test_an_event_that_waits_to_be_set_aside_is_not_kept(consuming: ConsumerWorld, memory: Memory) -> None:
    """Only its id and a short text are kept, because a thousand may wait."""
    consumer = consuming.consumer(lambda _: raise_now(ValueError("x" * 10_000)), max_deliveries=1)
    consuming.add("a" * 100_000)
    consuming.run(5.0)
    assert [entry.fields for entry in consumer.in_flight.entries.values()] == [None]
    [letter] = consumer.in_flight.aside._waiting
    assert len(letter.error) == 2_000
    memory.error = None


def test_an_entry_of_another_waits_beside_the_line_no_more(consuming: ConsumerWorld, memory: Memory) -> None:
    consumer = eager(consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1))
    consuming.add("bad", "bad")
    consuming.run(5.0)
    assert len(consumer.in_flight.aside) == 2
    del consuming.stream.groups["group"].pending[1]  # another has handled it
    consumer.in_flight.drop(["1-0", "9-0"])
    assert list(consumer.in_flight.entries) == ["2-0"]
    assert consumer.in_flight.load == 0
    memory.refused.clear()
    consuming.run(14.0)
    assert {id for _, id in memory.refused} == {"2-0"}
    memory.error = None
    consuming.run(14.0)
    assert consuming.dead.keys() == {"2-0"}
    assert consumer.in_flight.counts.dead == 1


def test_a_failed_batch_of_which_none_can_be_set_aside_leaves_none_behind(
    consuming: ConsumerWorld, memory: Memory
) -> None:
    consuming.add("a", "b", "c")
    consumer = eager(consuming.consumer(batch=lambda _: raise_now(Reject("never")), max_deliveries=1))
    consuming.run(0.5)
    assert len(consumer.in_flight.aside) == 3
    memory.error = None


def test_only_so_many_wait_beside_the_line(
    consuming: ConsumerWorld, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_aside, "MOST", 3)
    consumer = consuming.consumer(raiser(consuming, "now", Reject("x")), max_deliveries=1)
    consuming.add(*["bad"] * 5, "a")
    consuming.run(60.0)
    assert consuming.seen == []
    assert len(consumer.in_flight.aside) == 3
    memory.error = None
    consuming.run(60.0)
    assert consuming.seen == ["a"]
    assert len(consuming.dead) == 5


def test_a_stop_hands_over_what_waits_to_be_set_aside(consuming: ConsumerWorld, memory: Memory) -> None:
    consumer = consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1, name="first")
    consuming.add("bad", "a")
    consuming.run(5.0)
    consuming.stop(consumer)
    refused = len(memory.refused)
    consuming.run(60.0)
    assert len(memory.refused) == refused
    memory.error = None
    consuming.consumer(name="second")
    consuming.run(5.0)
    assert consuming.seen == ["a", "bad"]
    assert consuming.dead == {}


def test_an_entry_that_is_not_ours_is_not_set_aside_nor_counted(
    consuming: ConsumerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryEventGroup, "set_aside", lambda *_: succeed(False))
    consumer = consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1)
    consuming.add("bad", "a")
    consuming.run(5.0)
    assert consuming.seen == ["a"]
    assert consumer.in_flight.counts.dead == 0
    assert consuming.pending == [1]
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("fields", [{b"x" * 3_000_000: b"1"}, {EVENT_FIELD: b'{"id":' + b"9" * 3_000_000}])
def test_the_text_of_a_malformed_entry_is_cut_too(consuming: ConsumerWorld, fields: dict[bytes, bytes]) -> None:
    consuming.consumer()
    consuming.stream.add(fields)
    consuming.run(1.0)
    assert len(consuming.stream.dead[0]["error"]) <= 2_000


def test_nothing_is_tried_after_a_stop_that_gave_up(consuming: ConsumerWorld, memory: Memory) -> None:
    consumer = eager(consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=1, drain_timeout=1.0))
    consuming.add("bad")
    consuming.run(5.0)
    consumer.in_flight.handler.function = lambda _: Deferred()
    consuming.add("a")
    consuming.run(1.0)
    consuming.stop(consumer)
    memory.refused.clear()
    consuming.run(60.0)
    assert memory.refused == []
