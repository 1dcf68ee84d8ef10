"""
Attacks on L{eventsvc.producer.repair}: histories in which a repair, or what is
retained for one, could make an answer untrue.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.errors import Refused, Unknown
from eventsvc.event import Event, decode_notification, write_notifications
from eventsvc.producer.appender import RENEWAL
from eventsvc.producer.backlog import PendingRequest
from eventsvc.producer.retained import Retained
from eventsvc.submission import AppendReply, BatchOutcome, IdempotencyKey
from eventsvc.testing import Fate
from eventsvc.testing.group import Past
from tests.support.producer_world import ProducerWorld, key, make_world
from tests.unit.test_repair import Failover, posted, second_process


def ids_in(world: ProducerWorld) -> list[int]:
    """Return the ids of the events in the stream."""
    return [decode_notification(data).id for data in world.stream.payloads()]


class TestInDoubt:
    """An attempt was applied by a server that is away, and another answers that it has no room."""

    @pytest.mark.parametrize("limit", ["hard_max", "max_keys"])
    def test_what_another_server_may_have_is_not_told_to_be_nowhere(self, limit: str) -> None:
        """
        us:           2 ->                     2 again ->       <- FULL
        old primary:       appended, dies                                 wakes
        promoted:                                         FULL
        """
        world = make_world()
        servers = Failover(world)
        posted(world, "one")
        servers.remember()
        world.link.expect(Fate.CUT_AFTER)
        world.post("two", key=key("k"))
        world.run(0.0015)
        setattr(world.stream, limit, 0)
        servers.promote(0)
        world.run(1.0)
        told = world.told["two"]
        servers.promote(0)
        assert world.stored() == ["one", "two"]
        assert not isinstance(told, Refused), told


class TestMemory:
    """What is not retained takes no room."""

    def test_what_was_refused_does_not_drive_out_what_was_stored(self) -> None:
        world = make_world(retain=(30.0, 100_000))
        posted(world, "one", "two")
        world.stream.hard_max = 2
        for number in range(300):
            posted(world, f"{number} " + 1000 * "x")
        world.stream.hard_max = 1000
        world.stream.wipe()
        world.run(2 * RENEWAL)
        assert world.stored() == ["one", "two"]
        counts = world.appender.counts
        assert (counts.restored, counts.lost) == (2, 0)

    @pytest.mark.parametrize("keys", ["none", "one", "each"])
    @pytest.mark.parametrize("shape", [(1, 1), (16, 1), (1, 10), (1, 1000)])
    @pytest.mark.parametrize("letters", [1, 700])
    def test_what_is_retained_takes_as_much_as_it_says(self, shape: tuple[int, int], keys: str, letters: int) -> None:
        """And nothing of what the encoder has taken.  A batch has so many requests of so many events."""
        requests, events = shape
        chance = random.Random(1)
        retained = Retained(Clock(), 1e9, 1 << 40)
        for _ in range(8):
            sent = [make_request(chance, events, keys, letters) for _ in range(requests)]
            retained.keep(sent, AppendReply(BatchOutcome.APPENDED), requests * events, 0.0)
            assert not {id(entry) for request in sent for entry in request.entries} & set(measured(retained._batches))
        taken = sum(measured(retained._batches).values())
        assert 0.6 * retained.size < taken <= retained.size


def make_request(chance: random.Random, events: int, keys: str, letters: int) -> PendingRequest:
    """Return a request with so many events; with no key, one, or one for each."""
    ids = tuple([chance.getrandbits(63) for _ in range(events)])
    entries = write_notifications(ids, [Event(letters * "x") for _ in ids], "2025-02-25T22:06:25.478310425Z")
    own: list[IdempotencyKey] = []
    if keys == "one":
        own = [IdempotencyKey(chance.randbytes(16), chance.randbytes(16))]
    elif keys == "each":
        own = [IdempotencyKey(chance.randbytes(16)) for _ in ids]
    return PendingRequest(ids, entries, tuple(own), answer=lambda *_: None, size=sum(map(len, entries)))


def measured(objects: Iterable[Any]) -> dict[int, int]:
    """Return the bytes of memory of objects and all that they hold, by identity, as they are allocated."""
    sizes: dict[int, int] = {}
    todo = list(objects)
    while todo:
        each = todo.pop()
        if id(each) not in sizes:
            sizes[id(each)] = -16 * (-sys.getsizeof(each) // 16)
            if isinstance(each, msgspec.Struct):
                todo += [getattr(each, name) for name in each.__struct_fields__]
            elif isinstance(each, tuple):
                todo += each
    return sizes


class TestTime:
    """A reply tells how the log was when it answered, not when the reply is read."""

    @pytest.mark.parametrize("asked", ["append", "renew"])
    def test_a_producer_that_was_suspended_drops_nothing_on_the_word_of_an_old_reply(self, asked: str) -> None:
        """
        us:      1 ->      2 ->   (suspended for 40 s)                 <- 2: 1 is old?
        Redis:        1         2                     goes back to 0
        """
        world = make_world(retain=(30.0, 1 << 30))
        posted(world, "one")
        world.link.latency = 40.0
        if asked == "append":
            world.post("two")
        else:
            world.appender.check()
        world.run(0.1)
        world.link.latency = 0.001
        world.stream.lag = 10
        world.stream.roll_back()
        world.run(60.0)
        assert not world.appender.counts.lost
        assert world.stored()[0] == "one"


class TestAlarm:
    """No loss goes without its alarm."""

    def test_events_whose_requests_had_left_hide_no_loss(self) -> None:
        """Redis has counted the events of an attempt, of which most were no longer waited for."""
        world = make_world(retain=(1.0, 1 << 30))
        world.link.latency, world.link.repair = 1.9, 3.2
        world.link.expect(Fate.FINE, Fate.CUT_AFTER)
        posted(world, "first")
        world.post(*"abcdef")
        world.run(1.5)
        world.post("waits")
        world.link.latency = 0.001
        world.run(5.0)
        assert isinstance(world.told["a"], Unknown)
        posted(world, "one", "two", "three")
        assert all(isinstance(world.told[text], tuple) for text in ("one", "two", "three"))
        world.run(1.1 * RENEWAL)
        world.stream.lag = 3
        world.stream.roll_back()
        world.run(1.1 * RENEWAL)
        lost = {"one", "two", "three"} - set(world.stored())
        assert world.appender.counts.lost_events == len(lost)

    @pytest.mark.parametrize("seed", range(40))
    def test_it_counts_what_is_gone(self, seed: int) -> None:
        """Whatever was stored, refused and in doubt before, and however far the log goes back."""
        chance = random.Random(seed)
        retain = chance.choice([0.0, 1.0, 5.0, 1e9]), chance.choice([0, 1000, 5000, 1 << 30])
        world = make_world(batch_events=chance.choice([1, 3, 1000]), retain=retain)
        servers = Failover(world)
        servers.remember()
        servers.remember()
        fates = [Fate.FINE, Fate.CUT_AFTER, Fate.REFUSED, Fate.CUT_BEFORE]
        for number in range(chance.randrange(1, 40)):
            match chance.randrange(10):
                case 0:
                    servers.states[1] = Past.of(world.stream)
                case 1:
                    world.stream.hard_max = chance.choice([len(world.stream.entries), 1_000_000])
                case 2:
                    world.link.expect(*chance.choices(fates, k=3))
                case _:
                    world.post(*(f"{number}.{each}" for each in range(chance.choice([1, 1, 3]))))
            world.live(chance.choice([0.0005, 0.01, 0.3, 1.2, 2.5]))
        world.link.expect()
        world.live(8.0)
        before = set(ids_in(world))
        servers.promote(chance.randrange(2))
        world.appender.check()
        world.live(5.0)
        confirmed = {id for told in world.told.values() if isinstance(told, tuple) for id in told}
        counts = world.appender.counts
        assert bool(counts.lost) is bool(confirmed - set(ids_in(world)))
        assert len(confirmed - set(ids_in(world))) <= counts.lost_events <= len(before - set(ids_in(world)))


class TestKeys:
    """A key was forgotten, and used again before the repair."""

    def test_an_event_that_another_request_with_its_key_keeps_out_is_alarmed(self) -> None:
        """Both were answered 200.  Without its key it could be given back twice, by whoever answered a repeat."""
        world = make_world()
        other = second_process(world)
        world.post("one", key=key("k"))
        world.run(1.0)
        world.link.disconnect()
        world.stream.wipe()
        other.post("other", key=key("k", "another body"))
        other.run(1.0)
        world.link.connect()
        with capturedLogs() as logs:
            posted(world, "two")
            world.run(2 * RENEWAL)
        assert world.told == {"one": (1,), "two": (2,)}
        assert other.told == {"other": (100,)}
        assert ids_in(world) == [100, 2]
        counts = world.appender.counts
        assert (counts.lost, counts.lost_events, counts.restored) == (1, 1, 0)
        [lost] = [event for event in logs if "details" in event]
        assert (lost["log_level"].name, lost["details"]["alarm"], lost["count"]) == ("critical", "lost", 1)
