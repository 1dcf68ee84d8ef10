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
from eventsvc.outcome import Outcome
from eventsvc.simulator.service import MOST_IN_FLIGHT, PROGRESS, Simulator, Tally


@attrs.define
class World:
    """A producer, and the simulator that posts to it."""

    clock: Clock = attrs.field(factory=Clock)
    posted: list[tuple[float, str]] = attrs.field(factory=list)
    waiting: list[Deferred[Outcome]] = attrs.field(factory=list)
    ended: list[float] = attrs.field(factory=list)

    def hold(self, event: Event) -> Deferred[Outcome]:
        """A producer that answers later."""
        self.posted.append((self.clock.seconds(), event.description))
        answer: Deferred[Outcome] = Deferred()
        self.waiting.append(answer)
        return answer

    async def take(self, event: Event) -> Outcome:
        """A producer that answers at once."""
        self.posted.append((self.clock.seconds(), event.description))
        return Outcome.OK

    def start(self, post: Callable[[Event], Any] | None = None, rate: float = 10.0, **options: Any) -> Simulator:
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
    world.waiting.pop().callback(Outcome.OK)
    world.run(1.0)
    assert simulator.tally.sent == MOST_IN_FLIGHT + 1


def test_each_outcome_is_counted(world: World) -> None:
    """Each event is counted under the name of its outcome."""
    simulator = world.start(world.hold, count=6)
    world.run(5.0)
    outcomes = [*[Outcome.OK] * 3, *[Outcome.REFUSED] * 2, Outcome.UNKNOWN]
    for answer, outcome in zip(world.waiting, outcomes):
        answer.callback(outcome)
    assert simulator.tally == Tally(6, {Outcome.OK: 3, Outcome.REFUSED: 2, Outcome.UNKNOWN: 1})


def test_it_ends_after_its_count_once_all_is_answered(world: World) -> None:
    """With a count it posts that many events, waits for the answers, and ends."""
    world.start(world.hold, count=7)
    world.run(20.0)
    assert len(world.posted) == 7
    assert not world.ended
    for answer in world.waiting:
        answer.callback(Outcome.OK)
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

    async def post(event: Event) -> Outcome:
        world.clock.rightNow += 0.001  # what it costs to post
        return Outcome.OK

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
            answer.callback(Outcome.OK)
        assert stopping.called
    (summary,) = messages(events, "summary")
    assert summary["details"] == {"sent": under_way, "ok": under_way, "refused": 0, "unknown": 0, "dropped": 0}
    assert not world.clock.getDelayedCalls()


def test_a_post_that_fails_in_an_unexpected_way_is_told(world: World) -> None:
    """An unexpected error is logged, and does not end the traffic."""

    async def post(event: Event) -> Outcome:
        raise ZeroDivisionError

    with capturedLogs() as events:
        simulator = world.start(post)
        world.run(1.0)
    assert simulator.tally.sent > 1
    assert simulator.in_flight == 0
    assert {event["log_failure"].type for event in events} == {ZeroDivisionError}
