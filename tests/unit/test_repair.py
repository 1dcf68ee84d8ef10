"""
Tests for L{eventsvc.producer.repair}: a log that returns to an earlier state is
given back what it has forgotten, in order, once, and before anything new.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.errors import Unknown
from eventsvc.event import decode_notification
from eventsvc.producer.appender import RENEWAL
from eventsvc.submission import Submission
from eventsvc.testing import Fate, MemoryEventLog, MemoryStream
from eventsvc.testing.group import Past
from tests.support.producer_world import ProducerWorld, judge, key, make_world


def alarms(logs: Sequence[Any]) -> list[tuple[str, str]]:
    """Return the level and alarm of each event that was logged with an alarm."""
    return [(event["log_level"].name, event["details"]["alarm"]) for event in logs if "details" in event]


def posted(world: ProducerWorld, *texts: str) -> None:
    """Post events one after another, each a batch of its own."""
    for text in texts:
        world.post(text)
        world.run(0.01)


def second_process(world: ProducerWorld) -> ProducerWorld:
    """Return another producer on the same stream, whose ids begin with 100."""
    other = make_world(clock=world.clock)
    event_log = MemoryEventLog(world.stream, other.link)
    other.appender.event_log = other.appender._repair.event_log = event_log
    other.appender._producer_id = b"other"
    other.appender.new_id = iter(range(100, 200)).__next__
    return other


class Failover:
    """The servers that a producer may find at its address: they begin as copies of each other."""

    def __init__(self, world: ProducerWorld) -> None:
        self.world = world
        self.states: list[Past] = []

    def remember(self) -> None:
        """Keep a copy of the data, as a replica has them."""
        self.states.append(Past.of(self.world.stream))

    def promote(self, place: int) -> None:
        """Have the server with the data of a copy answer from now on; keep those of the other in its place."""
        before = Past.of(self.world.stream)
        self.states[place].return_to(self.world.stream)
        self.states[place] = before


@pytest.mark.parametrize("lag", [1, 2, 5])
@pytest.mark.parametrize("idle", [0.01, 1.2 * RENEWAL])
@pytest.mark.parametrize("first", Fate)
def test_what_was_confirmed_is_there_once_whatever_the_log_forgets(first: Fate, idle: float, lag: int) -> None:
    """
    Three operations with each fate, from the next batch or from the renewal of an
    idle producer on.
    """
    for rest in product(Fate, repeat=2):
        fates = (Fate.FINE, Fate.FINE, first, *rest)
        world = make_world(fates)
        world.stream.lag = lag
        posted(world, "a", "b")
        world.live(idle)
        world.post("c")
        world.live(0.02)
        world.post("d")
        world.live(20.0)
        assert set(world.told) == {"a", "b", "c", "d"}
        verdict = judge(world)
        assert verdict.held, (fates, verdict.describe())
        confirmed = [text for text, told in world.told.items() if isinstance(told, tuple)]
        assert [text for text in world.stored() if text in confirmed] == confirmed


@pytest.mark.parametrize("lag", [1, 2])
@pytest.mark.parametrize("first", Fate)
def test_a_log_is_repaired_within_ten_seconds_whatever_is_lost_on_the_way(first: Fate, lag: int) -> None:
    """This holds right after a confirmed batch, and with any fate of two operations in a row."""
    for second, since_batch in product(Fate, (0.0, 0.3 * RENEWAL, 0.9 * RENEWAL, 1.5 * RENEWAL)):
        world = make_world()
        posted(world, "a", "b")
        world.run(since_batch)
        world.stream.lag = lag
        world.stream.roll_back()
        world.link.expect(first, second)
        world.live(10.0)
        assert world.stored() == ["a", "b"], (second, since_batch)
        assert world.appender.counts.restored >= lag
        world.appender.stop()


def test_a_question_is_never_applied_as_a_batch() -> None:
    """
    A promoted server has the sequence before the last: a check must not store the
    last one, or the next batch would be accepted.
    """
    world = make_world([Fate.FINE, Fate.FINE, Fate.ROLLED_BACK_CUT])
    posted(world, "one", "two")
    world.run(1.01 * RENEWAL)
    world.post("three")
    world.run(1.0)
    assert world.stored() == ["one", "two", "three"]


def test_a_wiped_log_is_given_back_everything_before_anything_new() -> None:
    world = make_world()
    posted(world, "one", "two", "three")
    world.stream.wipe()
    with capturedLogs() as logs:
        world.post("new")
        world.run(1.0)
    assert world.stored() == ["one", "two", "three", "new"]
    ids = [decode_notification(data).id for data in world.stream.payloads()]
    assert ids == [world.told[text][0] for text in ("one", "two", "three", "new")]
    assert alarms(logs) == [("warn", "restored")]
    counts = world.appender.counts
    assert (counts.restored, counts.lost, counts.accepted, counts.appended) == (3, 0, 4, 4)


def test_an_idle_producer_asks_as_soon_as_it_is_told_to() -> None:
    """It is told so on each new connection."""
    world = make_world()
    posted(world, "one")
    world.stream.wipe()
    world.appender.check()
    world.run(0.01)
    assert world.stored() == ["one"]


def test_while_the_log_refuses_what_it_is_given_back_nothing_new_is_stored() -> None:
    """It is tried until it succeeds; new events are refused at their deadline as not stored."""
    world = make_world()
    posted(world, "one", "two")
    world.stream.roll_back()
    world.stream.has_rights = False
    world.post("new")
    world.run(20.0)
    assert "Redis has gone back" in str(world.told["new"])
    assert type(world.told["new"]).__name__ == "Refused"
    world.stream.has_rights = True
    world.run(1.0)
    assert world.stored() == ["one", "two"]


@pytest.mark.parametrize("seed", range(40))
def test_servers_that_take_turns_have_everything_once(seed: int) -> None:
    """
    Copies of the data are made at any moment, and any of them may answer next,
    also an old one that had been replaced: what was confirmed is there once, in
    its order.
    """
    chance = random.Random(seed)
    world = make_world(batch_events=chance.choice([1, 2, 1000]))
    servers = Failover(world)
    servers.remember()
    servers.remember()
    fates = [*Fate] + [Fate.FINE] * 30
    fates = [fate for fate in fates if fate not in (Fate.ROLLED_BACK, Fate.ROLLED_BACK_CUT, Fate.LATE)]
    for number in range(60):
        match chance.randrange(6):
            case 0:
                servers.states[chance.randrange(2)] = Past.of(world.stream)
            case 1:
                servers.promote(chance.randrange(2))
                if chance.random() < 0.7 and world.link.connected:
                    world.link.cut()
                    world.appender.check()
            case 2:
                world.link.expect(*(chance.choice(fates) for _ in range(4)))
            case _:
                repeated = key(chance.choice("abc")) if chance.random() < 0.2 else None
                world.post(*(f"{number}.{each}" for each in range(chance.choice([1, 1, 3]))), key=repeated)
        world.live(chance.choice([0.0005, 0.002, 0.02, 0.2, 2.1]))
    world.link.expect()
    world.live(10.0)
    stored = [decode_notification(data).id for data in world.stream.payloads()]
    assert len(stored) == len(set(stored))
    confirmed = [told for told in world.told.values() if isinstance(told, tuple)]
    assert len(confirmed) > 10
    assert set(stored) >= {id for told in confirmed for id in told}
    assert not world.appender.counts.lost


class TestLimits:
    """What is retained is bounded by time and by memory."""

    def test_what_is_older_than_the_retained_is_alarmed_with_its_number(self) -> None:
        world = make_world(retain=(1.0, 1 << 30))
        for number in range(5):
            world.post(f"{number}", f"{number}'")
            world.run(0.39)
        world.stream.wipe()
        with capturedLogs() as logs:
            world.run(2 * RENEWAL)
        assert world.stored() == ["2", "2'", "3", "3'", "4", "4'"]
        assert sorted(alarms(logs)) == [("critical", "lost"), ("warn", "restored")]
        [lost] = [event for event in logs if event["log_level"].name == "critical"]
        assert (lost["count"], lost["first"], lost["last"]) == (4, 1, 2)
        counts = world.appender.counts
        assert (counts.lost, counts.lost_events, counts.restored) == (1, 4, 6)

    def test_the_batches_that_the_log_has_kept_are_not_counted_as_lost(self) -> None:
        world = make_world(retain=(1.0, 1 << 30))
        for number in range(6):
            world.post(f"{number}", f"{number}'")
            world.run(0.39)
        world.stream.lag = 5
        world.stream.roll_back()
        world.run(2 * RENEWAL)
        assert world.stored() == ["0", "0'", "3", "3'", "4", "4'", "5", "5'"]
        assert world.appender.counts.lost_events == 4

    @pytest.mark.parametrize("retain", [(0.0, 1 << 30), (1e9, 0)])
    def test_nothing_need_be_retained(self, retain: tuple[float, int]) -> None:
        """Then a loss is alarmed, and everything new is stored."""
        world = make_world(retain=retain)
        posted(world, "one", "two")
        world.stream.wipe()
        with capturedLogs() as logs:
            posted(world, "three", "four")
        assert world.stored()[-2:] == ["three", "four"]
        assert ("critical", "lost") in alarms(logs)
        assert world.appender.counts.lost_events + world.appender.counts.restored == 2

    def test_an_outage_does_not_make_what_is_retained_old(self) -> None:
        """The primary dies with its reply, and a replica is promoted an hour later."""
        world = make_world(retain=(1.0, 1 << 30))
        posted(world, "one", "two")
        world.link.disconnect()
        world.stream.roll_back()
        world.run(3600.0)
        world.post("during")
        world.run(3600.0)
        world.link.connect()
        posted(world, "new")
        assert world.stored() == ["one", "two", "new"]
        assert not world.appender.counts.lost

    def test_an_idle_producer_lets_go_of_what_is_old(self) -> None:
        world = make_world(retain=(30.0, 1 << 30))
        posted(world, "one")
        retained = world.appender.retained
        assert retained.size
        world.run(29.0)
        assert retained.size
        world.run(1.0 + 2 * RENEWAL)
        assert not retained.size

    def test_its_reach_is_its_time_unless_its_memory_is_less(self) -> None:
        world = make_world(retain=(30.0, 3_000))
        assert world.appender.retained.reach == 30.0
        for number in range(100):
            world.post(f"{number}")
            world.run(1.0)
        assert 2.0 < world.appender.retained.reach < 10.0
        assert world.appender.retained.size <= 3_000
        world.run(100.0)
        assert world.appender.retained.reach == 30.0

    def test_many_batches_go_in_few_calls_within_the_limits_of_a_call(self) -> None:
        world = make_world(batch_events=10)
        for number in range(95):
            posted(world, f"{number}")
        world.stream.wipe()
        before = len(world.link.operations)
        world.appender.check()
        world.run(1.0)
        assert world.link.operations[before:] == ["renew", "holds", *["append"] * 10]
        assert world.stored() == [f"{number}" for number in range(95)]


class TestKeys:
    """Keys are given back with their events, and repeats under the ids that they were told."""

    def test_a_repeat_gives_back_what_it_was_told(self) -> None:
        """The process that stored the first has ended, and what it retained with it."""
        world = make_world()
        world.post("one", "two", key=key("k"))
        world.run(1.0)
        other = second_process(world)
        other.post("one", "two", key=key("k"))
        other.run(1.0)
        assert other.told["one"] == world.told["one"] == (1, 2)
        world.appender.stop()
        world.stream.wipe()
        other.run(2 * RENEWAL)
        assert [decode_notification(data).id for data in world.stream.payloads()] == [1, 2]
        other.post("one", "two", key=key("k")).addErrback(lambda _: None)
        other.run(1.0)
        assert [decode_notification(data).id for data in world.stream.payloads()] == [1, 2]

    def test_two_processes_give_back_one_event_once(self) -> None:
        """The first and its repeat were answered by different processes, and both give it back."""
        world = make_world()
        other = second_process(world)
        world.post("one", key=key("k"))
        world.run(1.0)
        other.post("one", key=key("k"))
        other.run(1.0)
        world.stream.wipe()
        other.run(3 * RENEWAL)
        assert [decode_notification(data).id for data in world.stream.payloads()] == [1]

    def test_what_was_refused_is_not_given_back(self) -> None:
        """A key in use with another body, a key for which there was no room, and a full stream."""
        world = make_world(hard_max=4)
        world.stream.max_keys = 1
        world.post("one", key=key("k"))
        world.run(0.1)
        for text, name, body in (("conflict", "k", "other body"), ("no room", "l", "body")):
            world.post(text, key=key(name, body))
            world.run(0.1)
        world.stream.hard_max = 1
        posted(world, "full")
        world.stream.hard_max = 4
        posted(world, "last")
        before = world.stored()
        assert before == ["one", "last"]
        world.stream.wipe()
        world.run(2 * RENEWAL)
        assert world.stored() == before


class TestForgottenSequence:
    """The key that keeps the sequence is gone, and the events are there."""

    def test_nothing_is_stored_twice(self) -> None:
        world = make_world()
        posted(world, "one", "two")
        world.stream.producer_ids.clear()
        with capturedLogs() as logs:
            posted(world, "three")
        assert world.stored() == ["one", "two", "three"]
        assert alarms(logs) == []
        assert world.appender.counts.restored == 0

    def test_a_batch_in_doubt_stays_so(self) -> None:
        """It may be among the events, and its sequence is not used again."""
        world = make_world([Fate.FINE, Fate.FINE, Fate.CUT_AFTER])
        posted(world, "one", "two")
        world.post("in doubt")
        world.run(0.002)
        world.stream.producer_ids.clear()
        world.run(0.2)
        assert isinstance(world.told["in doubt"], Unknown)
        posted(world, "next", "last")
        assert world.stored() == ["one", "two", "in doubt", "next", "last"]
        counts = world.appender.counts
        assert (counts.lost, counts.restored, counts.batches, counts.unknown, counts.accepted) == (0, 0, 5, 1, 4)

    def test_it_is_noticed_again_after_a_repair(self) -> None:
        """The entries have new ids by then."""
        world = make_world()
        posted(world, "one", "two")
        world.stream.wipe()
        posted(world, "three")
        world.stream.wipe()
        world.appender.check()
        world.run(0.1)
        world.stream.producer_ids.clear()
        posted(world, "four")
        assert world.stored() == ["one", "two", "three", "four"]


def test_a_sequence_that_is_ahead_is_passed_over() -> None:
    """Somebody else has used the producer id: no call is repeated for ever."""
    world = make_world()
    posted(world, "one")
    [producer_id] = world.stream.producer_ids
    for sequence in (2, 3, 4):
        world.stream.append(producer_id, sequence, [Submission((7,), (b"7",))], sequence)
    world.post("two")
    world.run(1.0)
    assert isinstance(world.told["two"], tuple)
    assert len(world.stream.payloads()) == 5


def test_a_clock_and_a_stream_of_its_own() -> None:
    """Each stream is repaired by its own appender; another that shares the clock is not touched."""
    clock = Clock()
    one, other = make_world(clock=clock), make_world(clock=clock)
    posted(one, "one")
    posted(other, "other")
    other.stream.wipe()
    one.run(2 * RENEWAL)
    assert one.stored() == ["one"]
    assert other.stored() == ["other"]
    assert (one.appender.counts.restored, other.appender.counts.restored) == (0, 1)


def test_the_model_of_a_stream_is_copied_whole() -> None:
    """Otherwise the servers of these tests would share what they have."""
    world = make_world()
    servers = Failover(world)
    servers.remember()
    posted(world, "one")
    servers.promote(0)
    assert world.stored() == []
    servers.promote(0)
    assert world.stored() == ["one"]
    assert isinstance(world.stream, MemoryStream)
