"""
Tests for L{eventsvc.producer.appender} and L{eventsvc.producer.backlog}: on a fake clock, with a
log in memory whose faults the test chooses.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from eventsvc.event import Event
from eventsvc.interfaces import KeyConflict, KeyRunning, QueueFull, Refused, TooLarge, Unknown
from eventsvc.producer.appender import RENEWAL
from eventsvc.testing import Fate
from tests.support.producer_world import ProducerWorld, judge, key, make_world


@pytest.fixture
def world() -> Iterator[ProducerWorld]:
    made = make_world()
    yield made
    made.appender.stop()
    made.run(10.0)
    assert made.clock.getDelayedCalls() == []


def test_an_event_is_answered_once_it_is_stored(world: ProducerWorld) -> None:
    world.post("one")
    assert world.told == {}
    world.run(0.01)
    assert world.told == {"one": (1,)}
    assert world.stored() == ["one"]


def test_requests_that_arrive_during_a_batch_go_out_together_as_the_next(world: ProducerWorld) -> None:
    world.post("first")
    world.turn()
    for text in ("second", "third", "fourth"):
        world.post(text)
    world.run(1.0)
    assert world.link.operations == ["append", "append"]
    assert world.stored() == ["first", "second", "third", "fourth"]


def test_requests_that_arrive_in_one_turn_of_the_reactor_go_out_together(world: ProducerWorld) -> None:
    for text in ("one", "two", "three"):
        world.post(text)
    world.run(1.0)
    assert world.link.operations == ["append"]


def test_a_batch_carries_no_more_than_its_bounds() -> None:
    world = make_world(batch_events=2)
    world.post("first")
    world.turn()
    for text in ("a", "b", "c"):
        world.post(text)
    world.post("d", "e", "f")
    world.run(1.0)
    assert world.link.operations == ["append"] * 4  # first; a b; c; d e f
    assert len(world.stored()) == 7


class Events(list[Event]):
    """Events that can be tracked with weak references."""


def test_a_refusal_does_not_keep_the_events() -> None:
    """The caller may keep the error for long, and many are refused when memory is short."""
    world = make_world(queue_events=0)
    events = Events([Event("one")])
    kept = weakref.ref(events)
    refusals: list[Failure] = []
    world.appender.append(events).addErrback(refusals.append)
    assert refusals[0].check(QueueFull)
    del events
    assert kept() is None
    world.appender.stop()


@pytest.mark.parametrize("limits", [{"queue_events": 2}, {"queue_bytes": 150}])
def test_a_full_line_refuses_at_once_and_takes_again_when_there_is_room(limits: dict[str, Any]) -> None:
    world = make_world(**limits)
    world.link.disconnect()
    for text in ("in flight", "second", "third", "fourth"):
        world.post(text)
    assert isinstance(world.told["fourth"], QueueFull)
    world.link.connect()
    world.run(1.0)
    world.post("fifth")
    world.run(1.0)
    assert "fifth" in world.stored()
    assert "fourth" not in world.stored()


def test_events_that_could_never_wait_are_told_so() -> None:
    """The Deferred fails at once, as with every other error."""
    world = make_world(queue_events=2)
    world.post("one", "two", "three")
    assert isinstance(world.told["one"], TooLarge)
    world.appender.stop()


def test_events_wait_through_a_short_outage(world: ProducerWorld) -> None:
    world.link.disconnect()
    world.post("patient")
    world.run(4.0)
    assert world.told == {}
    world.link.connect()
    world.run(0.01)
    assert world.told == {"patient": (1,)}


def test_events_stay_in_the_line_while_there_is_no_connection(world: ProducerWorld) -> None:
    """They count toward its limits, and go out together."""
    world.link.disconnect()
    for text in ("first", "second"):
        world.post(text)
        world.run(0.5)
    assert world.appender.backlog.events == 2
    world.link.connect()
    world.run(0.1)
    assert world.link.operations == ["append"]


def test_a_refusal_says_what_was_wrong_last(world: ProducerWorld) -> None:
    world.link.expect(*[Fate.REFUSED] * 100)
    world.post("refused")
    world.run(5.0)
    assert str(world.told["refused"]) == "told to refuse"


def test_an_event_that_was_never_sent_is_refused_when_its_time_is_over(world: ProducerWorld) -> None:
    world.link.disconnect()
    world.post("patient")
    world.run(5.0)
    assert type(world.told["patient"]) is Refused
    world.link.connect()
    world.run(10.0)
    assert world.stored() == []


def test_an_event_whose_batch_is_in_doubt_is_unknown_when_its_time_is_over(world: ProducerWorld) -> None:
    world.link.expect(Fate.SILENT)
    world.post("lost")
    world.run(5.0)
    assert isinstance(world.told["lost"], Unknown)
    world.link.cut()
    world.run(10.0)
    assert world.stored() == []  # it is asked about without those who gave up


def test_a_lost_reply_is_found_out_and_nothing_is_stored_twice(world: ProducerWorld) -> None:
    world.link.expect(Fate.CUT_AFTER)
    world.post("once")
    world.run(1.0)
    assert world.told == {"once": (1,)}
    assert world.stored() == ["once"]
    assert world.appender.counts.duplicates_resolved == 1


def test_an_event_in_doubt_stays_so_when_later_attempts_are_refused(world: ProducerWorld) -> None:
    world.link.expect(Fate.CUT_AFTER, *[Fate.REFUSED] * 20)
    world.post("lost")
    world.run(5.0)
    assert isinstance(world.told["lost"], Unknown)
    assert world.stored() == ["lost"]


def test_a_batch_in_doubt_is_resolved_when_nobody_waits_for_it(world: ProducerWorld) -> None:
    """Otherwise its sequence would be used for the next batch."""
    world.link.repair = 6.0
    world.link.expect(Fate.CUT_AFTER)
    world.post("lost")
    world.run(5.5)
    assert isinstance(world.told["lost"], Unknown)
    world.post("next")
    world.run(1.0)
    assert world.told["next"] == (2,)
    assert world.stored() == ["lost", "next"]


def test_a_producer_has_a_producer_id_that_none_had_before(world: ProducerWorld) -> None:
    world.post("one")
    world.run(1.0)
    assert list(world.stream.producer_ids) == [b"producer 1"]


def test_an_idle_producer_id_is_renewed_in_peace(world: ProducerWorld) -> None:
    world.post("one")
    world.run(5 * RENEWAL)
    assert world.link.operations == ["append", *["renew"] * 5]
    assert world.appender.counts.lost == 0


def test_an_idle_producer_id_is_renewed_every_two_seconds(world: ProducerWorld) -> None:
    world.run(20.5)
    assert world.link.operations == ["renew"] * 10


@pytest.mark.parametrize("operation", ["append", "renew"])
def test_what_was_lost_is_tried_again_as_soon_as_there_is_a_connection(operation: str) -> None:
    """However long the outage was, there is no pause before the attempt."""
    world = make_world([Fate.CUT_BEFORE])
    world.link.repair = 3.0
    if operation == "append":
        world.post("one")
    else:
        world.run(RENEWAL)
    world.run(3.005)
    assert world.link.operations.count(operation) >= 2
    world.appender.stop()


def test_a_late_first_attempt_finds_its_number_spent(world: ProducerWorld) -> None:
    world.link.expect(Fate.LATE)
    world.post("once")
    world.run(3.0)
    assert world.stored() == ["once"]


def test_a_full_stream_refuses_and_a_late_attempt_does_not_slip_in() -> None:
    """The first attempt arrives after there is room again: it is not stored, and another server might have done so."""
    world = make_world([Fate.LATE], hard_max=1)
    world.stream.add({b"CreateStream": b"stream created"})
    world.post("refused")
    world.run(0.1)
    assert isinstance(world.told["refused"], Unknown)
    world.stream.entries.clear()
    world.run(5.0)
    assert world.stored() == []
    world.post("next")
    world.run(1.0)
    assert world.stored() == ["next"]


def test_a_batch_in_doubt_when_its_producer_id_is_gone_is_unknown(world: ProducerWorld) -> None:
    """Redis may have applied the batch and then dropped the producer id."""
    world.post("one")
    world.run(1.0)
    world.link.expect(Fate.CUT_AFTER)
    world.post("two")
    world.run(0.002)
    world.stream.producer_ids.clear()
    world.run(1.0)
    assert isinstance(world.told["two"], Unknown)
    assert world.stored() == ["one", "two"]


def test_a_client_that_leaves_while_its_event_waits_takes_it_along(world: ProducerWorld) -> None:
    world.link.disconnect()
    answering = world.post("gone", key=key("k"))
    answering.cancel()
    world.link.connect()
    world.run(1.0)
    assert world.stored() == []
    world.post("again", key=key("k"))
    world.run(1.0)
    assert world.stored() == ["again"]


class TestIdempotencyKey:
    """A request is stored once under its key, and gets the same answer each time."""

    def test_the_same_request_gets_the_first_answer(self, world: ProducerWorld) -> None:
        world.post("one", key=key("k"))
        world.run(1.0)
        world.post("again", key=key("k"))
        world.run(1.0)
        assert world.told == {"one": (1,), "again": (1,)}
        assert world.stored() == ["one"]
        assert world.appender.counts.repeated == 1

    def test_another_body_is_a_conflict(self, world: ProducerWorld) -> None:
        world.post("one", key=key("k"))
        world.run(1.0)
        world.post("other", key=key("k", "other"))
        world.run(1.0)
        assert isinstance(world.told["other"], KeyConflict)
        assert world.stored() == ["one"]

    def test_a_request_still_running_is_told_so(self, world: ProducerWorld) -> None:
        world.post("one", key=key("k"))
        world.post("again", key=key("k"))
        world.post("other", key=key("k", "other"))
        assert isinstance(world.told["again"], KeyRunning)
        assert isinstance(world.told["other"], KeyConflict)

    def test_a_request_in_doubt_holds_its_key_until_it_is_resolved(self, world: ProducerWorld) -> None:
        world.link.expect(Fate.SILENT)
        world.post("one", key=key("k"))
        world.run(5.0)
        world.post("early", key=key("k"))
        assert isinstance(world.told["early"], KeyRunning)
        world.link.cut()
        world.run(1.0)
        world.post("late", key=key("k"))
        world.run(1.0)
        assert world.stored() == ["late"]

    def test_a_refused_request_leaves_its_key_free(self, world: ProducerWorld) -> None:
        world.link.disconnect()
        world.post("one", key=key("k"))
        world.run(5.0)
        world.link.connect()
        world.post("again", key=key("k"))
        world.run(1.0)
        assert world.stored() == ["again"]

    @pytest.mark.parametrize("fates", list(product(set(Fate) - {Fate.ROLLED_BACK, Fate.ROLLED_BACK_CUT}, repeat=2)))
    def test_a_lost_reply_gives_the_same_answers(self, fates: Sequence[Fate]) -> None:
        """A replay, a conflict and a new key in one batch, whatever is lost."""
        world = make_world()
        world.post("one", key=key("k"))
        world.run(1.0)
        world.link.expect(Fate.FINE, *(fate for fate in fates if fate is not Fate.SILENT))
        world.post("first")
        world.post("replay", key=key("k"))
        world.post("conflict", key=key("k2"))
        world.post("new", key=key("n"))
        world.run(1.0)
        assert world.told["replay"] == (1,)
        assert world.told["new"] == (5,)
        assert sorted(world.stored()) == ["conflict", "first", "new", "one"]


#: What a client does, and when: two alone, two together, one later.
_SCRIPT = ((0.0, "a"), (0.0, "b"), (0.0005, "c"), (0.06, "d"), (0.3, "e"))


@pytest.mark.parametrize("wait", [5.0, 0.065])
@pytest.mark.parametrize("first", list(Fate))
def test_whatever_is_lost_at_whichever_step_every_answer_is_true(first: Fate, wait: float) -> None:
    """
    All runs of four operations, each with every fate: what was confirmed is in
    the stream exactly once, even if the log went back; what was refused is not
    there, the rest at most once.
    With a short deadline, requests expire during the run.
    """
    for rest in product(Fate, repeat=3):
        fates = (first, *rest)
        world = make_world(fates, wait=wait)
        for time, text in _SCRIPT:
            world.run(time - world.clock.seconds())
            world.post(text)
        while len(world.told) < len(_SCRIPT):
            world.run(1.0)
            if world.link.connected:
                world.link.cut()  # a connection that is silent does not last
        world.live(10.0)
        verdict = judge(world)
        assert verdict.held, (fates, verdict.describe())
        assert set(world.told) == {text for _, text in _SCRIPT}


@pytest.mark.parametrize("first", list(Fate))
def test_a_wipe_at_any_moment_makes_no_answer_untrue(first: Fate) -> None:
    for rest, moment in product(product(Fate, repeat=2), (0.0005, 0.0015, 0.03, 0.055, 0.07)):
        world = make_world((Fate.FINE, first, *rest))
        world.post("before")
        world.run(0.01)
        world.clock.callLater(moment, world.stream.wipe)
        for text in ("a", "b"):
            world.post(text)
        world.run(1.0)
        world.post("c")
        for _ in range(8):
            world.run(1.0)
            world.link.cut()
        world.run(1.0)
        verdict = judge(world)
        assert verdict.held, (first, rest, moment, verdict.describe())
        world.post("after")
        world.run(1.0)
        assert isinstance(world.told["after"], tuple)
        assert world.stored().count("after") == 1


def test_a_drain_ends_when_every_request_is_answered(world: ProducerWorld) -> None:
    world.link.disconnect()
    world.post("one")
    drained = world.appender.drain()
    world.run(4.9)
    assert not drained.called
    world.run(0.2)
    assert drained.called


def test_a_drain_ends_with_the_batch_that_answers_the_last_request(world: ProducerWorld) -> None:
    world.post("one")
    drained = world.appender.drain()
    world.run(0.01)
    assert drained.called


def test_a_drain_gives_back_what_redis_has_forgotten() -> None:
    """It waits for a connection as long as a request may wait."""
    world = make_world()
    world.post("one")
    world.run(0.01)
    world.stream.wipe()
    world.link.disconnect()
    drained = world.appender.drain()
    world.run(4.0)
    world.link.connect()
    world.run(0.1)
    assert drained.called
    assert world.stored() == ["one"]


def test_a_drain_without_redis_ends_in_time_and_says_what_is_not_known(world: ProducerWorld) -> None:
    world.post("one")
    world.run(0.01)
    world.link.disconnect()
    with capturedLogs() as logs:
        drained = world.appender.drain()
        world.run(4.9)
        assert not drained.called
        world.run(0.2)
    assert ["stopping without an answer" in event["log_format"] for event in logs] == [True]
    assert drained.called


def test_a_drain_that_has_nothing_to_give_back_asks_nobody(world: ProducerWorld) -> None:
    assert world.appender.drain().called
    assert world.link.operations == []


def test_what_waits_at_the_end_is_told_what_is_known() -> None:
    world = make_world([Fate.SILENT])
    world.post("in flight")
    world.turn()
    world.post("waiting")
    world.appender.stop()
    assert isinstance(world.told["in flight"], Unknown)
    assert type(world.told["waiting"]) is Refused
