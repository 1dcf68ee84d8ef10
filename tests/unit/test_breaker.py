"""
Tests for L{eventsvc.consumer.breaker}: an outage of what a handler needs makes no
dead letters, and events that can never be handled hold up nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs

from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import Notification
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import raiser
from tests.unit.test_key_order import add


class Database:
    """Something that handlers need, and that may be away."""

    def __init__(self, world: ConsumerWorld, seconds: float = 0.0) -> None:
        self.world = world
        self.seconds = seconds
        self.is_away = False
        self.calls: list[tuple[float, str]] = []
        self.rows: list[str] = []

    def insert(self, *rows: str) -> None:
        self.calls.append((self.world.clock.seconds(), " ".join(rows)))
        if self.is_away or "bad" in rows:
            raise ConnectionError("the database is away" if self.is_away else "bad row")
        self.rows += rows

    def plain(self, notification: Notification) -> None:
        self.insert(notification.description)

    async def later(self, notification: Notification) -> None:
        await deferLater(self.world.clock, self.seconds)
        self.insert(notification.description)

    def batch(self, batch: list[Notification]) -> None:
        self.insert(*[notification.description for notification in batch])

    def handler(self, how: str) -> dict[str, Any]:
        return {"batch": self.batch} if how == "batch" else {"handler": getattr(self, how)}


@pytest.mark.parametrize("max_deliveries", [1, 5])
@pytest.mark.parametrize("concurrency", [1, 50])
@pytest.mark.parametrize("how", ["plain", "later", "batch"])
def test_an_outage_of_ten_minutes_makes_two_dead_letters_at_most(
    consuming: ConsumerWorld, how: str, concurrency: int, max_deliveries: int
) -> None:
    """Nothing else is lost, what comes after is handled in full speed, and the order is kept where it was promised."""
    database = Database(consuming, 0.01)
    consumer = consuming.consumer(**database.handler(how), concurrency=concurrency, max_deliveries=max_deliveries)
    texts = [f"{number}" for number in range(600)]
    consuming.add(*texts[:100])
    consuming.run(10.0)
    assert sorted(database.rows) == sorted(texts[:100])
    database.is_away = True
    consuming.add(*texts[100:500])
    consuming.run(600.0)
    assert (consumer.in_flight.breaker.is_open, consumer.problem) == (True, "")
    consuming.add(*texts[500:])
    database.is_away = False
    before = len(database.rows)
    consuming.run(1.1)
    assert len(database.rows) > before + (20 if how == "later" else 200)
    consuming.run(10.0)
    assert consuming.pending == []
    assert len(consuming.dead) <= 2
    assert len(database.rows) == len(set(database.rows)) == 600 - len(consuming.dead)
    if concurrency == 1:
        assert database.rows == [text for text in texts if text in database.rows]


@pytest.mark.parametrize("max_deliveries", [2, 5])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_outage_that_begins_between_two_events_of_a_run_makes_two_dead_letters_at_most(
    consuming: ConsumerWorld, concurrency: int, max_deliveries: int
) -> None:
    """What was handled before it says nothing about what fails in it."""
    database = Database(consuming)

    def handle(notification: Notification) -> None:
        database.plain(notification)
        database.is_away = True

    consuming.add(*"abcdef")
    consumer = consuming.consumer(handle, concurrency=concurrency, max_deliveries=max_deliveries)
    consuming.run(30.0)
    assert consumer.in_flight.breaker.is_open
    assert database.rows == ["a"]
    assert len(consuming.dead) <= 2


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_a_probe_is_one_event_and_pauses_grow(consuming: ConsumerWorld, concurrency: int) -> None:
    database = Database(consuming, 0.2)
    database.is_away = True
    consuming.add(*[f"{number}" for number in range(100)])
    consuming.consumer(database.later, concurrency=concurrency)
    consuming.run(20.0)
    database.calls.clear()
    consuming.run(30.0)
    pauses = [after[0] - before[0] for before, after in pairwise(database.calls)]
    assert min(pauses) > 0.7  # 0.2 of the handler, at least half of a second for the pause
    assert len(database.calls) > 20


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_alarm_is_given_once_and_its_end_is_told(consuming: ConsumerWorld, concurrency: int) -> None:
    database = Database(consuming)
    consumer = consuming.consumer(database.plain, concurrency=concurrency)
    for _ in range(2):
        database.is_away = True
        consuming.add(*"abcdef")
        with capturedLogs() as logs:
            consuming.run(30.0)
            assert consumer.in_flight.breaker.is_open
            database.is_away = False
            consuming.run(2.0)
        assert [log["details"]["alarm"] for log in logs if log["log_level"] is LogLevel.critical] == ["handler_failing"]
        assert len([log for log in logs if "the handler succeeds again" in log["log_format"]]) == 1
    assert consumer.in_flight.breaker.trips == 2


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("how", ["now", "later", "failed"])
def test_an_isolated_event_is_set_aside_as_quickly_as_ever(
    consuming: ConsumerWorld, how: str, concurrency: int
) -> None:
    consuming.add("a", "bad", "b")
    consumer = consuming.consumer(raiser(consuming, how, KeyError("x")), concurrency=concurrency)
    consuming.run(3.0)
    assert consuming.dead == {"2-0": "failed: KeyError: 'x'"}
    assert sorted(consuming.seen) == ["a", "b"]
    assert consumer.in_flight.breaker.trips == 0


@pytest.mark.parametrize("concurrency", [1, 4, 20])
def test_events_that_can_never_be_handled_do_not_hold_up_others_that_can(
    consuming: ConsumerWorld, concurrency: int
) -> None:
    """Far more of them in a row than there are slots, or than are read at once; those that can keep their order."""
    database = Database(consuming)
    consuming.add(*["bad"] * 20, "a", "b", "c")
    consuming.consumer(database.plain, concurrency=concurrency, max_deliveries=2)
    consuming.run(900.0)
    assert database.rows == ["a", "b", "c"]
    consuming.add("d")
    consuming.run(300.0)
    assert database.rows == ["a", "b", "c", "d"]


@pytest.mark.parametrize("concurrency", [1, 4, 50])
def test_events_that_fail_beside_others_that_succeed_are_no_outage(consuming: ConsumerWorld, concurrency: int) -> None:
    rows: list[str] = []

    def handle_batch(batch: list[Notification]) -> None:
        rows.extend(event.description for event in batch if event.description != "bad")
        bad = {event.stream_id: ValueError("bad") for event in batch if event.description == "bad"}
        if bad:
            raise BatchFailed(bad)

    texts = ["bad" if number % 20 == 19 else f"{number}" for number in range(400)]
    consuming.add(*texts)
    consumer = consuming.consumer(batch=handle_batch, batch_size=100, concurrency=concurrency, max_deliveries=2)
    consuming.run(60.0)
    assert len(rows) == 380
    assert len(consuming.dead) == 20
    assert consumer.in_flight.breaker.trips == 0
    assert consuming.pending == []


def test_events_that_fail_between_others_that_succeed_at_once_are_no_outage(consuming: ConsumerWorld) -> None:
    database = Database(consuming)
    consuming.add("a", "bad", "b", "bad", "c", "bad", "d")
    consumer = eager(consuming.consumer(database.plain, concurrency=4))
    consuming.run(10.0)
    assert database.rows == list("abcd")
    assert len(consuming.dead) == 3
    assert consumer.in_flight.breaker.trips == 0


def test_events_that_are_rejected_in_a_row_are_no_outage(consuming: ConsumerWorld) -> None:
    consuming.add(*["bad"] * 10, "a")
    consumer = consuming.consumer(raiser(consuming, "now", Reject("never")), concurrency=1)
    consuming.run(5.0)
    assert consuming.seen == ["a"]
    assert set(consuming.dead.values()) == {"rejected: never"}
    assert consumer.in_flight.counts.failed == 0


@pytest.mark.parametrize("how", ["alone", "batch"])
def test_calls_that_began_before_an_outage_and_succeed_in_it_do_not_end_it(consuming: ConsumerWorld, how: str) -> None:
    slow: list[Deferred[None]] = []
    good: list[str] = []
    is_away = True

    def handle(notification: Notification) -> Deferred[None] | None:
        if notification.description.startswith("slow"):
            slow.append(Deferred())
            return slow[-1]
        if is_away:
            raise ConnectionError("away")
        good.append(notification.description)
        return None

    def handle_batch(batch: list[Notification]) -> Deferred[None] | None:
        return next(map(handle, batch))

    consuming.add("slow 1", "slow 2", "slow 3", *"abcdefgh")
    handler: dict[str, Any] = {"batch": handle_batch, "batch_size": 1} if how == "batch" else {"handler": handle}
    consumer = eager(consuming.consumer(**handler, concurrency=5, max_deliveries=2))
    consuming.run(5.0)
    assert consumer.in_flight.breaker.is_open
    for each in slow:
        each.callback(None)
        consuming.run(5.0)
        assert consumer.in_flight.breaker.is_open
    assert len(consuming.dead) <= 2
    is_away = False
    consuming.run(1.1)
    assert len(good) == 8 - len(consuming.dead)
    assert not consumer.in_flight.breaker.is_open


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_consumer_that_has_only_events_that_fail_waits_for_others_beside_one_that_is_idle(
    consuming: ConsumerWorld, concurrency: int
) -> None:
    """The other has always waited for longer than one that only asks."""
    database = Database(consuming)
    consuming.add("bad", "bad", "bad")
    failing = consuming.consumer(database.later, name="failing", concurrency=concurrency, max_deliveries=2)
    consuming.run(90.0)
    assert failing.in_flight.breaker.is_open
    consuming.consumer(database.later, name="idle")
    consuming.run(1.0)
    for number in range(300):
        consuming.add(f"{number}")
        consuming.run(3.0 + number * 37 % 50 / 10)
    assert sorted(map(int, database.rows)) == list(range(300))
    assert len(consuming.dead) == 3
    assert not failing.in_flight.breaker.is_open


def test_the_order_of_a_key_outlasts_an_outage(consuming: ConsumerWorld) -> None:
    database = Database(consuming)
    consumer = eager(consuming.consumer(database.later, concurrency=3))
    texts = [f"{key}{number}" for number in range(20) for key in "abcd"]
    database.is_away = True
    add(consuming, *[f"{text[0]}:{text}" for text in texts])
    consuming.run(100.0)
    assert consumer.in_flight.breaker.is_open
    database.is_away = False
    consuming.run(10.0)
    assert sorted(database.rows) == sorted(texts)
    for key in "abcd":
        assert [row for row in database.rows if row[0] == key] == [text for text in texts if text[0] == key]


def test_a_probe_that_asks_for_a_pause_is_given_it(consuming: ConsumerWorld) -> None:
    calls: list[float] = []

    def handler(_: Notification) -> None:
        calls.append(consuming.clock.seconds())
        raise RetryAfter(7.0) if len(calls) > 8 else ConnectionError("away")

    consuming.add(*"abcd")
    consuming.consumer(handler, concurrency=1, max_deliveries=2)
    consuming.run(100.0)
    assert {round(after - before) for before, after in pairwise(calls[8:])} == {7}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_stop_in_an_outage_takes_no_time_and_hands_over(consuming: ConsumerWorld, concurrency: int) -> None:
    database = Database(consuming)
    database.is_away = True
    consuming.add(*"abcdef")
    consumer = consuming.consumer(database.later, concurrency=concurrency, drain_timeout=30.0, name="first")
    consuming.run(30.0)
    consuming.consumers.remove(consumer)
    stopping = consumer.stopService()
    consuming.run(0.5)
    assert stopping.called
    database.is_away = False
    consuming.consumer(database.plain, name="second")
    consuming.run(2.0)
    assert sorted([*database.rows, *["x"] * len(consuming.dead)]) == sorted(
        [text for text in "abcdef" if f"{'abcdef'.index(text) + 1}-0" not in consuming.dead]
        + ["x"] * len(consuming.dead)
    )
    assert consuming.pending == []


def test_what_another_has_claimed_does_not_stop_the_probes(consuming: ConsumerWorld) -> None:
    database = Database(consuming)
    database.is_away = True
    consuming.add(*"abcd")
    consumer = eager(consuming.consumer(database.later, concurrency=3))
    consuming.run(20.0)
    assert consumer.in_flight.breaker.is_open
    consumer.in_flight.drop([f"{number}-0" for number in (1, 2, 3, 4)])
    consuming.run(5.0)
    database.is_away = False
    consuming.add("e")
    consuming.run(5.0)
    assert "e" in database.rows
    assert not consumer.in_flight.breaker.is_open
