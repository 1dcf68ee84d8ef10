"""
Tests for L{eventsvc.producer.appender}: what requests with an idempotency key are told
when Redis has not looked the key up, or can remember no more of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventsvc.interfaces import KeyRunning, KeysFull, QueueFull, Refused, StreamFull, Unknown
from eventsvc.testing import Fate
from tests.support.producer_world import ProducerWorld, key, make_world


def store_unknown(world: ProducerWorld) -> None:
    """Store a request under a key, and answer its client "unknown"."""
    world.link.expect(Fate.CUT_AFTER, *[Fate.REFUSED] * 20)
    world.post("one", key=key("k"))
    world.run(5.0)
    assert isinstance(world.told["one"], Unknown)
    assert world.stored() == ["one"]
    world.link.expect()
    world.run(1.0)


def lose_redis(world: ProducerWorld) -> None:
    world.link.disconnect()


def refuse_all(world: ProducerWorld) -> None:
    world.link.expect(*[Fate.REFUSED] * 100)


def fill_queue(world: ProducerWorld) -> None:
    world.link.disconnect()
    for number in range(3):
        world.post(f"{number}")


def stop(world: ProducerWorld) -> None:
    world.link.disconnect()
    world.clock.callLater(1.0, world.appender.stop)


@pytest.mark.parametrize("trouble", [lose_redis, refuse_all, fill_queue, stop])
def test_a_key_that_was_not_looked_up_is_unknown(trouble: Callable[[ProducerWorld], Any]) -> None:
    """An earlier attempt may have stored it, as here.  Without a key it was certainly not stored."""
    world = make_world(queue_events=2)
    store_unknown(world)
    trouble(world)
    world.post("again", key=key("k"))
    world.post("plain")
    world.run(6.0)
    assert isinstance(world.told["again"], Unknown)
    assert isinstance(world.told["plain"], Refused)
    assert world.appender.counts.unknown == 2


def test_a_full_line_does_not_hold_the_key() -> None:
    """A retry is not told that the request is still running."""
    world = make_world(queue_events=0)
    for _ in range(2):
        world.post("one", key=key("k"))
        assert isinstance(world.told["one"], Unknown)
    world.post("plain")
    assert isinstance(world.told["plain"], QueueFull)


def test_a_full_stream_has_looked_the_key_up() -> None:
    """A stored request gets its ids; any other is certainly refused."""
    world = make_world(hard_max=1)
    store_unknown(world)
    world.post("again", key=key("k"))
    world.post("new", key=key("n"))
    world.run(1.0)
    assert world.told["again"] == (1,)
    assert isinstance(world.told["new"], StreamFull)


def test_a_key_too_many_is_refused_alone() -> None:
    """The rest of its batch is stored, and a retry succeeds once there is room."""
    world = make_world()
    world.stream.max_keys = 1
    world.post("one", key=key("k"))
    world.run(1.0)
    for text, name in (("new", "n"), ("again", "k"), ("plain", None)):
        world.post(text, key=None if name is None else key(name))
    world.run(1.0)
    assert isinstance(world.told["new"], KeysFull)
    assert world.told["again"] == world.told["one"]
    assert world.stored() == ["one", "plain"]
    counts = world.appender.counts
    assert counts.refused == {"keys_full": 1}
    assert (counts.appended, counts.accepted, counts.repeated) == (2, 2, 1)
    world.stream.max_keys = 2
    world.post("new", key=key("n"))
    world.run(1.0)
    assert world.stored() == ["one", "plain", "new"]


def test_a_key_too_many_is_unknown_if_a_reply_was_lost() -> None:
    """The retried batch gets the answer of the attempt that this server applied; another may have had room."""
    world = make_world([Fate.CUT_AFTER])
    world.stream.max_keys = 0
    world.post("new", key=key("n"))
    world.run(0.02)
    world.stream.max_keys = 1
    world.run(1.0)
    assert isinstance(world.told["new"], Unknown)
    assert world.stored() == []


def test_the_keys_that_are_remembered_are_asked_for() -> None:
    """Each renewal counts them, including those of other producers."""
    world = make_world()
    world.post("one", key=key("k"))
    world.run(10.0)
    assert world.appender.known_keys == 1
    world.stream.keys.clear()
    world.run(10.0)
    assert world.appender.known_keys == 0


@pytest.mark.parametrize("limits", [{}, {"queue_events": 1}])
def test_a_key_is_free_again_whatever_its_request_was_told(limits: dict[str, Any]) -> None:
    """It may be refused while waiting, before or after it was sent, or by Redis."""
    world = make_world(hard_max=0, **limits)
    world.link.disconnect()
    world.post("waits", key=key("a"))
    world.run(6.0)
    world.link.connect()
    world.run(1.0)
    world.link.expect(*[Fate.REFUSED] * 15)
    world.post("refused", key=key("b"))
    world.run(20.0)
    world.post("full", key=key("c"))
    world.run(1.0)
    for name in "abc":
        world.post(f"again {name}", key=key(name))
        world.run(1.0)
        assert not isinstance(world.told[f"again {name}"], KeyRunning)
