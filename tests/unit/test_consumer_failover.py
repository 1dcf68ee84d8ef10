"""
Tests for what a consumer does after Redis went back in time: acknowledgements are
undone, and ids of entries are given out again for other events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from eventsvc.errors import Reject, RetryAfter
from eventsvc.event import EVENT_FIELD, Entry, Notification, encode_notification
from eventsvc.testing import Fate
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failovers import Calls, Primary, link_of
from tests.support.inboxes import events, sqlite_place


@pytest.fixture
def primary(consuming: ConsumerWorld) -> Primary:
    return Primary(consuming)


class TestAnotherEvent:
    """The id of an entry is given to another event: that is handled, whatever became of the first."""

    def test_which_is_in_flight(self, consuming: ConsumerWorld, primary: Primary) -> None:
        calls = Calls(consuming)
        consumer = consuming.consumer(calls, concurrency=3)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        primary.fail_over("b", "c")
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["a", "c"], [1, 2])
        calls.end("a")
        assert (consuming.seen, consuming.pending) == (["a", "c", "b"], [1, 2])
        calls.end("b", "c")
        assert (consuming.pending, consumer.in_flight.lost) == ([], set())

    @pytest.mark.parametrize("tenths", range(12))
    def test_which_is_done_while_redis_is_asked(self, consuming: ConsumerWorld, primary: Primary, tenths: int) -> None:
        calls = Calls(consuming)
        consumer = consuming.consumer(calls)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        link_of(consumer).latency = 0.3
        primary.fail()
        consuming.leave_pending("other", "b")
        primary.promote()
        consumer.in_flight.when_changed().callback(None)  # the reader looks
        consuming.run(tenths / 10)
        calls.end("a")
        consuming.run(5.0)
        assert consuming.pending == [1]

    def test_which_is_retried_while_redis_is_asked(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """No delivery of the other is counted for it."""
        tried: list[Notification] = []

        def fail(notification: Notification) -> Deferred[None]:
            tried.append(notification)
            if notification.description == "b":
                return Deferred()
            raise KeyError("x") if len(tried) < 5 else RetryAfter(0.05)

        consumer = consuming.consumer(fail, max_deliveries=100)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        while len(tried) < 8:
            consuming.run(0.01)
        link_of(consumer).latency = 0.3
        primary.fail()
        consuming.leave_pending("consumer", "b")
        primary.promote()
        consuming.run(10.0)
        assert tried[-1].description == "b"
        assert consuming.stream.groups["group"].pending[1].deliveries == 2  # it was read before

    def test_which_is_rejected_later(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """No letter is written for the other."""
        calls = Calls(consuming)
        consuming.consumer(calls)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        primary.fail()
        consuming.leave_pending("consumer", "b")
        primary.promote()
        consuming.run(3.0)
        calls.ends["a"].errback(Reject("no"))
        consuming.run(5.0)
        assert (consuming.seen, consuming.dead) == (["a", "b"], {})
        calls.end("b")
        assert consuming.pending == []

    def test_which_waits_for_the_handler(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """Its place in the line is the other's."""
        calls = Calls(consuming)
        consumer = eager(consuming.consumer(calls))
        consuming.add("a")
        consuming.run(1.0)
        primary.keep()
        consuming.add("b", "c")
        consuming.run(1.0)
        assert set(consumer.in_flight.entries) == {"1-0", "2-0", "3-0"}
        primary.fail_over("c", "b")
        consuming.run(1.0)
        for text in "acb":
            calls.end(text)
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["a", "c", "b"], [])

    @pytest.mark.parametrize("confirmed", [True, False])
    def test_which_is_handled(self, consuming: ConsumerWorld, primary: Primary, confirmed: bool) -> None:
        """Whether or not it was acknowledged."""
        consumer = consuming.consumer()
        consuming.run(1.0)
        primary.keep()
        if not confirmed:
            link_of(consumer).expect(Fate.FINE, Fate.CUT_BEFORE)
        consuming.add("a")
        while not consuming.seen:
            consuming.run(0.001)
        consuming.run(1.0 if confirmed else 0.0)
        primary.fail_over("b")
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["a", "b"], [])

    def test_which_another_consumer_has(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """It is neither acknowledged nor kept from it."""
        calls = Calls(consuming)
        consuming.consumer(calls)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        primary.fail()
        consuming.leave_pending("other", "b")
        primary.promote()
        consuming.run(1.0)
        calls.end("a")
        consuming.run(5.0)
        assert consuming.stream.groups["group"].pending[1].consumer == "other"
        consuming.run(20.0)
        assert consuming.seen == ["a"]
        consuming.run(20.0)
        assert consuming.seen == ["a", "b"]
        calls.end("b")

    def test_while_the_reader_waits_for_the_handler(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """It sends nothing, so it does not notice that the connection is a new one."""
        calls = Calls(consuming)
        consumer = consuming.consumer(calls)
        consuming.add("z")
        consuming.run(1.0)
        calls.end("z")
        primary.keep()
        consuming.add("a")
        consuming.run(3.0)
        assert not link_of(consumer).silent
        primary.fail_over("b")
        calls.end("a")
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["z", "a", "b"], [2])
        calls.end("b")
        assert consuming.pending == []

    def test_which_fails(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """It spends no delivery of the other, and its letter is not written."""
        tried: list[tuple[str, int]] = []

        def fail(notification: Notification) -> None:
            tried.append((notification.description, notification.deliveries))
            if notification.description != "fine":
                raise KeyError("x")

        consuming.consumer(fail, max_deliveries=3)
        consuming.run(1.0)
        primary.keep()
        consuming.add("fine", "a")
        while ("a", 2) not in tried:
            consuming.run(0.001)
        primary.fail_over("fine", "b")
        consuming.run(60.0)
        assert tried[-3:] == [("b", 1), ("b", 2), ("b", 3)]
        assert tried.count(("fine", 1)) == 1
        assert list(consuming.dead) == ["2-0"]

    @pytest.mark.parametrize("tenths", range(0, 20, 2))
    def test_which_waits_to_be_set_aside(self, consuming: ConsumerWorld, primary: Primary, tenths: int) -> None:
        """No letter is written for the other, whenever that is tried."""

        def reject(notification: Notification) -> None:
            consuming.see(notification)
            if notification.description == "a":
                raise Reject("no")

        consumer = consuming.consumer(reject)
        link = link_of(consumer)

        def refuse_letters() -> Any:
            while True:
                yield Fate.REFUSED if link.operations[-1] == "set_aside" else Fate.FINE

        consuming.run(1.0)
        primary.keep()
        link.fates = refuse_letters()
        consuming.add("a")
        consuming.run(5.0)
        assert consuming.dead == {}
        consuming.run(tenths / 10)
        link.expect()
        link.latency = 0.5
        primary.fail()
        consuming.leave_pending("consumer", "b")
        primary.promote()
        consuming.run(60.0)
        assert (consuming.seen, consuming.dead, consuming.pending) == (["a", "b"], {}, [])

    @pytest.mark.parametrize("ends", [True, False])
    def test_a_stop_hands_over_what_is_there(self, consuming: ConsumerWorld, primary: Primary, ends: bool) -> None:
        """It acknowledges nothing that it has not seen there, and counts no delivery of it."""
        calls = Calls(consuming)
        consumer = consuming.consumer(calls, drain_timeout=1.0)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        primary.fail()
        consuming.leave_pending("consumer", "b")
        consuming.stream.groups["group"].pending[1].deliveries = 3
        link_of(consumer).connect()
        if ends:
            calls.ends["a"].callback(None)
        consuming.stop(consumer)
        pending = consuming.stream.groups["group"].pending[1]
        assert (pending.consumer, pending.deliveries) == ("consumer", 3)
        consuming.consumer(name="second")
        consuming.run(2.0)
        assert consuming.seen == ["a", "b"]


class TestTheSameEvent:
    """An entry comes again, with its id and its bytes."""

    def test_which_is_in_flight_is_handled_once(self, consuming: ConsumerWorld, primary: Primary) -> None:
        calls = Calls(consuming)
        consuming.consumer(calls)
        consuming.run(1.0)
        primary.keep()
        consuming.add("a")
        consuming.run(1.0)
        primary.fail_over("a")
        consuming.run(5.0)
        assert consuming.seen == ["a"]
        calls.end("a")
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["a"], [])

    @pytest.mark.parametrize("delivered", [True, False])
    def test_which_was_acknowledged_is_not_handled_again(
        self, consuming: ConsumerWorld, primary: Primary, delivered: bool
    ) -> None:
        """Whether it is pending again, or comes as new."""
        calls = Calls(consuming)
        consumer = consuming.consumer(calls)
        consuming.run(1.0)
        primary.keep()
        if delivered:
            consuming.add("a")
            consuming.run(1.0)
            primary.keep()
        else:
            primary.fail()
            consuming.add("a")
            primary.keep()
            primary.promote()
            consuming.run(1.0)
            assert consumer.groups_recreated == 0
        calls.end("a")
        assert consuming.pending == []
        primary.fail_over("b")
        consuming.run(5.0)
        assert consuming.seen == ["a", "b"]
        assert consuming.pending == [2]
        assert consumer.recovery.recognised == 1
        calls.end("b")

    def test_under_another_id_is_handled_again(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """A foreign producer may write the same bytes twice."""
        consuming.consumer()
        consuming.run(1.0)
        primary.keep()
        consuming.add("a", "b", "a")
        consuming.run(1.0)
        primary.fail_over("b", "a", "a")
        consuming.run(5.0)
        assert (consuming.seen, consuming.pending) == (["a", "b", "a", "b", "a"], [])  # 3 = a was done

    def test_that_somebody_asks_for_again_is_handled_again(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """By setting the group back, a while after a failover."""
        consuming.consumer()
        consuming.add("a", "b")
        consuming.run(1.0)
        primary.keep()
        primary.fail_over()
        consuming.run(6.0)
        consuming.stream.groups["group"].last = 0
        consuming.add("c")
        consuming.run(6.0)
        assert consuming.seen == ["a", "b", "a", "b", "c"]

    def test_of_a_group_that_is_gone_is_handled_again(self, consuming: ConsumerWorld, primary: Primary) -> None:
        """The alarm says so."""
        consumer = consuming.consumer()
        consuming.add("a", "b")
        consuming.run(1.0)
        primary.keep()
        primary.past.state["groups"].clear()
        primary.fail_over()
        consuming.run(6.0)
        assert consuming.seen == ["a", "b", "a", "b"]
        assert consumer.groups_recreated == 1

    def test_that_was_set_aside_is_set_aside_again(self, consuming: ConsumerWorld, primary: Primary) -> None:
        def reject(notification: Notification) -> None:
            consuming.see(notification)
            raise Reject("no")

        consuming.consumer(reject)
        consuming.add("a")
        while not consuming.seen:
            consuming.run(0.001)
            primary.keep() if not consuming.stream.dead else None
        consuming.run(1.0)
        primary.past.state["dead"].clear()
        assert list(consuming.dead) == ["1-0"]
        primary.fail_over()
        consuming.run(5.0)
        assert (consuming.seen, list(consuming.dead), consuming.pending) == (["a", "a"], ["1-0"], [])


def test_an_inbox_has_each_effect_once(consuming: ConsumerWorld, primary: Primary, tmp_path: Path) -> None:
    """Events that come again, or are restored under other ids, have their own id and timestamp as before."""
    place = sqlite_place(str(tmp_path / "effects.db"))
    seen: list[str] = []

    def post(*ids: int) -> None:
        for each in events(ids):
            consuming.stream.add({EVENT_FIELD: encode_notification(each)})

    def handle(batch: list[Notification]) -> None:
        seen.extend(each.stream_id for each in batch)
        made.handle_batch(batch)

    made = place.inbox()
    consuming.consumer(batch=handle)
    consuming.run(1.0)
    post(1, 2)
    consuming.run(1.0)
    primary.keep()
    post(3, 4)
    consuming.run(1.0)
    primary.fail()
    post(5, 3, 4, 1)
    primary.promote()
    consuming.run(5.0)
    assert seen == ["1-0", "2-0", "3-0", "4-0", "3-0", "4-0", "5-0", "6-0"]
    assert sorted(place.effects()) == [1, 2, 3, 4, 5]
    made.stop()


def test_a_failover_that_loses_nothing_raises_no_alarm(consuming: ConsumerWorld, primary: Primary) -> None:
    """Whatever is in flight, is done, waits or is unread."""
    calls = Calls(consuming)
    consumer = consuming.consumer(calls, concurrency=2)
    consuming.add("done")
    consuming.run(1.0)
    calls.end("done")
    consuming.add(*"abcdef")
    consuming.run(1.0)
    for text in "abcdef":
        calls.ends.setdefault(text, succeed(None) if text in "cdef" else Deferred())
    with capturedLogs() as logs:
        for _ in range(3):
            primary.keep()
            primary.fail_over()
            consuming.run(1.0)
        calls.end("a", "b")
        consuming.run(40.0)
    assert sorted(consuming.seen) == ["a", "b", "c", "d", "done", "e", "f"]
    assert consuming.pending == []
    assert [event for event in logs if event["log_level"].name in ("error", "critical")] == []
    assert (consumer.in_flight.counts.redelivered, consumer.recovery.trimmed) == (0, 0)


def test_nothing_is_acknowledged_between_two_slices_while_redis_is_asked(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer()
    consuming.add("a")
    consumer.in_flight.doubt()
    consumer.in_flight.take([Entry("1-0", consuming.stream.entries[1])])
    before = list(link_of(consumer).operations)
    consumer.in_flight.acknowledge_early()
    assert [entry.id for entry in consumer.in_flight.done] == ["1-0"]
    assert link_of(consumer).operations == before
