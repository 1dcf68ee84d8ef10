"""
Tests for L{eventsvc.simulator.service}: on a fake clock, with a producer that answers
when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from eventsvc.event import Event
from eventsvc.outcome import Outcome, PostedBatch
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.service import MOST_IN_FLIGHT, PROGRESS, Simulator, Tally
from eventsvc.simulator.traffic import Events

OK, REFUSED, UNKNOWN = PostedBatch(Outcome.OK), PostedBatch(Outcome.REFUSED, why="full"), PostedBatch(Outcome.UNKNOWN)


@attrs.define
class World:
    """A producer, and the simulator that posts to it."""

    clock: Clock = attrs.field(factory=Clock)
    posted: list[tuple[float, str]] = attrs.field(factory=list)
    waiting: list[Deferred[PostedBatch]] = attrs.field(factory=list)
    ended: list[float] = attrs.field(factory=list)

    def hold(self, events: Sequence[Event]) -> Deferred[PostedBatch]:
        """A producer that answers later."""
        self.posted += [(self.clock.seconds(), event.description) for event in events]
        answer: Deferred[PostedBatch] = Deferred()
        self.waiting.append(answer)
        return answer

    async def take(self, events: Sequence[Event]) -> PostedBatch:
        """A producer that answers at once."""
        self.posted += [(self.clock.seconds(), event.description) for event in events]
        return OK

    def start(
        self, post: Callable[[Sequence[Event]], Any] | None = None, rate: float = 10.0, **options: Any
    ) -> Simulator:
        simulator = Simulator(
            post=post or self.take,
            clock=self.clock,
            random=Random(options.pop("seed", 1)),
            rate=rate,
            done=lambda: self.ended.append(self.clock.seconds()),
            **options,
        )
        simulator.startService()
        return simulator

    def run(self, seconds: float, step: float = 0.01) -> None:
        """Let time pass."""
        self.clock.pump([step] * round(seconds / step))


@pytest.fixture
def world() -> World:
    return World()


def test_events_come_at_the_mean_rate(world: World) -> None:
    """Over time, the number of posted events matches the rate."""
    world.start(rate=20.0)
    world.run(100.0)
    assert 1_850 < len(world.posted) < 2_150


def test_a_slow_producer_does_not_slow_the_arrivals(world: World) -> None:
    """Events are posted at the same times, whether earlier ones are answered or not."""
    world.start(world.hold)
    world.run(10.0)
    quick = World()
    quick.start(quick.take)
    quick.run(10.0)
    assert len(world.posted) > 50
    assert world.posted == quick.posted


def test_what_is_in_flight_is_bounded(world: World) -> None:
    """An arrival that finds too many requests in flight is dropped and counted."""
    simulator = world.start(world.hold, rate=100.0)
    world.run(10.0)
    assert simulator.in_flight == simulator.tally.sent == len(world.waiting) == MOST_IN_FLIGHT
    assert simulator.tally.dropped > 500
    world.waiting.pop().callback(OK)
    world.run(1.0)
    assert simulator.tally.sent == MOST_IN_FLIGHT + 1


def test_each_outcome_is_counted(world: World) -> None:
    """Each event is counted under the name of its outcome."""
    simulator = world.start(world.hold, count=6)
    world.run(5.0)
    outcomes = [*[OK] * 3, *[REFUSED] * 2, UNKNOWN]
    for answer, outcome in zip(world.waiting, outcomes):
        answer.callback(outcome)
    assert simulator.tally.outcomes == {Outcome.OK: 3, Outcome.REFUSED: 2, Outcome.UNKNOWN: 1}
    assert simulator.tally.sent == 6
    assert simulator.tally.reasons == {"full": 2, "": 1}


def test_it_ends_after_its_count_once_all_is_answered(world: World) -> None:
    """With a count it posts that many events, waits for the answers, and ends."""
    world.start(world.hold, count=7)
    world.run(20.0)
    assert len(world.posted) == 7
    assert not world.ended
    for answer in world.waiting:
        answer.callback(OK)
    assert world.ended == [pytest.approx(20.0)]


def test_it_ends_after_its_duration(world: World) -> None:
    """With a duration it posts for that long, and ends."""
    world.start(duration=3.0)
    world.run(10.0)
    assert world.ended == [pytest.approx(3.0, abs=0.02)]
    assert max(time for time, _ in world.posted) <= 3.0


def test_one_seed_is_one_traffic(world: World) -> None:
    """The same seed gives the same events at the same times; another seed gives others."""
    traffic = []
    for seed in (1, 1, 2):
        each = World()
        each.start(seed=seed)
        each.run(10.0)
        traffic.append(each.posted)
    assert traffic[0] == traffic[1] != traffic[2]


def test_a_rate_beyond_its_means_leaves_others_their_turn(world: World) -> None:
    """However late the arrivals are, other work continues and the duration holds."""
    turns = []

    def work() -> None:
        turns.append(world.clock.seconds())
        world.clock.callLater(0.5, work)

    async def post(events: Sequence[Event]) -> PostedBatch:
        world.clock.rightNow += 0.001  # what it costs to post
        return OK

    work()
    world.start(post, rate=1_000_000.0, duration=2.0)
    world.run(2.1)
    assert turns[:4] == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.4)
    assert world.ended == [pytest.approx(2.0, abs=0.2)]


def messages(events: Sequence[LogEvent], what: str) -> list[LogEvent]:
    return [event for event in events if event.get("what") == what]


def test_it_tells_its_progress(world: World) -> None:
    """Every few seconds it logs the outcomes so far."""
    with capturedLogs() as events:
        simulator = world.start()
        world.run(2 * PROGRESS + 0.1)
    assert [event["details"]["ok"] for event in messages(events, "progress")] == [
        sum(1 for time, _ in world.posted if time < end + 0.001) for end in (PROGRESS, 2 * PROGRESS)
    ]
    simulator.stopService()


def test_it_stops_with_a_summary(world: World) -> None:
    """After a stop it posts no more, waits for requests in flight, logs a summary and leaves nothing behind."""
    simulator = world.start(world.hold)
    world.run(1.0)
    under_way = len(world.waiting)
    assert under_way
    with capturedLogs() as events:
        stopping = simulator.stopService()
        world.run(1.0)
        assert (stopping.called, len(world.waiting)) == (False, under_way)
        for answer in world.waiting:
            answer.callback(OK)
        assert stopping.called
    (summary,) = messages(events, "summary")
    assert summary["details"] == {"sent": under_way, "ok": under_way, "refused": 0, "unknown": 0, "dropped": 0}
    assert not world.clock.getDelayedCalls()


def test_a_post_that_fails_in_an_unexpected_way_is_told(world: World) -> None:
    """An unexpected error is logged, and does not end the traffic."""

    async def post(events: Sequence[Event]) -> PostedBatch:
        raise ZeroDivisionError

    with capturedLogs() as events:
        simulator = world.start(post)
        world.run(1.0)
    assert simulator.tally.sent > 1
    assert simulator.in_flight == 0
    assert {event["log_failure"].type for event in events} == {ZeroDivisionError}


def test_each_attempt_is_told_with_its_times(world: World) -> None:
    """The intended time is that of the arrival, however late the request is made; what is dropped is told too."""
    attempts: list[Attempt] = []
    simulator = world.start(world.hold, rate=100.0, pattern="CONSTANT", duration=10.0)
    simulator.observers.append(attempts.append)
    world.clock.advance(1.0)  # the reactor comes round once in a second: a hundred arrivals are late
    world.clock.advance(0.0)
    world.waiting[0].callback(PostedBatch(Outcome.OK, [7]))
    assert attempts == [Attempt(attempts[0].intended, 1.0, 1.0, Outcome.OK, 1, [7])]
    assert attempts[0].intended == pytest.approx(0.01)
    world.run(9.0)
    dropped = [each for each in attempts if each.outcome is None]
    assert len(dropped) == simulator.tally.dropped > 500
    assert all(each.intended <= each.ended for each in attempts)


@pytest.mark.parametrize("form", ["PLAIN", "CLOUDEVENTS", "MIXED"])
def test_batches_have_the_rate_and_the_count_of_their_events(world: World, form: str) -> None:
    """The rate and the count are those of events, and the last batch has the rest."""
    batches: list[Sequence[Event]] = []

    async def post(events: Sequence[Event]) -> PostedBatch:
        batches.append(events)
        return OK

    simulator = world.start(post, rate=100.0, batch=10, count=205, pattern="CONSTANT", events=Events(form))
    world.run(1.05)
    assert [len(events) for events in batches] == [10] * 10
    world.run(2.0)
    assert [len(events) for events in batches] == [*[10] * 20, 5]
    assert simulator.tally.sent == simulator.tally.outcomes[Outcome.OK] == 205
    assert world.ended
    assert all(len({event.cloudevent is None for event in events}) == 1 for events in batches)


def test_it_waits_before_it_begins_and_before_it_ends(world: World) -> None:
    """Nothing is posted before what it waits for, and it is done only after what it waits for then."""
    opened: Deferred[None] = Deferred()
    settled: Deferred[None] = Deferred()

    async def begin() -> None:
        await opened

    async def settle() -> None:
        await settled

    concluded: list[int] = []
    simulator = world.start(count=3, begin=begin, settle=settle, concluded=lambda: concluded.append(1))
    world.run(5.0)
    assert (world.posted, simulator.began) == ([], None)
    opened.callback(None)
    world.run(5.0)
    assert (len(world.posted), world.ended) == (3, [])
    assert simulator.began == pytest.approx(5.0)
    settled.callback(None)
    assert (len(world.ended), concluded) == (1, [])
    simulator.stopService()
    assert concluded == [1]


def test_a_stop_cuts_the_wait_for_the_end(world: World) -> None:
    """A signal while it waits for the consumers ends it, with its summary."""
    waiting: Deferred[None] = Deferred()

    async def settle() -> None:
        await waiting

    concluded: list[int] = []
    simulator = world.start(count=1, settle=settle, concluded=lambda: concluded.append(1))
    world.run(5.0)
    assert simulator.stopService().called
    assert (concluded, world.ended) == ([1], [])


def test_reasons_are_bounded() -> None:
    """However many different reasons there are, few are kept, and all are counted."""
    tally = Tally()
    for number in range(1_000):
        tally.explain(f"why {number}", 2)
    assert len(tally.reasons) < 30
    assert sum(tally.reasons.values()) == 2_000
