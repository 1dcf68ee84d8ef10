"""
Tests for L{eventsvc.producer.appender}: a log that refuses for long or revokes
permissions during an append, and clients that post again from inside an answer.
"""

from __future__ import annotations

from itertools import product

import pytest
from twisted.internet.defer import fail

from eventsvc.errors import RedisFull
from eventsvc.producer.appender import RENEWAL
from eventsvc.testing import Fate, MemoryEventLog, MemoryStream
from tests.support.producer_world import ProducerWorld, judge, make_world


def test_a_right_that_is_missing_for_a_while_stores_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a batch was refused half way, the check at the end would find it."""

    def post() -> ProducerWorld:
        world = make_world([Fate.FORBIDDEN] * 2)
        world.post("one")
        world.run(1.0)
        return world

    assert post().stored() == ["one"]
    monkeypatch.setattr(MemoryStream, "check_rights", lambda _: None)
    assert not judge(post()).held


def test_a_batch_goes_before_a_question_that_was_refused() -> None:
    """The batch makes the same check; the renewal follows it all the same."""
    world = make_world()
    world.run(RENEWAL - 0.0005)
    world.link.expect(Fate.REFUSED)
    world.run(0.001)
    world.post("one")
    world.run(0.1)
    assert world.link.operations == ["renew", "append", "renew"]


def test_a_log_that_refuses_for_long_is_asked_twice_a_second() -> None:
    """The pauses between attempts, of batches and renewals, grow to half a second at most."""
    for operation in ("append", "renew"):
        world = make_world([Fate.REFUSED] * 100, wait=60.0)
        if operation == "append":
            world.post("one")
        world.run(RENEWAL + 20.0)
        assert set(world.link.operations) == {operation}
        assert 40 <= len(world.link.operations) < 60


@pytest.mark.parametrize("busy", ["append", "renew"])
def test_a_stopped_appender_tries_nothing_more(busy: str) -> None:
    """This holds while a batch or renewal is in flight, and in the pause before the next attempt."""
    for fate, moment in product((Fate.SILENT, Fate.REFUSED, Fate.CUT_BEFORE), (0.0005, 0.006)):
        world = make_world([fate] * 5)
        if busy == "append":
            world.post("one")
        else:
            world.run(RENEWAL)
        world.run(moment)
        world.appender.stop()
        assert not world.appender.is_running
        before = list(world.link.operations)
        assert busy in before
        world.run(30.0)
        assert world.link.operations == before
        world.post("late")
        world.run(30.0)
        assert world.link.operations == before


@pytest.mark.parametrize("wait", [5.0, 0.065])
@pytest.mark.parametrize("first", Fate)
def test_an_answer_may_be_followed_by_the_next_request_from_inside(first: Fate, wait: float) -> None:
    """The callback submits again before it returns, as a pipelining client does."""
    for rest in product(Fate, repeat=2):
        fates = (first, *rest)
        world = make_world(fates, wait=wait)
        for text in ("a", "b", "c"):
            world.post_again_and_again(text, 3)
        world.live(21.0)
        assert len(world.told) == 9
        verdict = judge(world)
        assert verdict.held, (fates, verdict.describe())
        assert not world.appender.backlog
        assert len(world.clock.getDelayedCalls()) == 1  # the next renewal


def test_a_full_log_refuses_all_that_wait_for_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that were never attempted too; once it has room again, another refusal has another reason."""
    world = make_world(wait=5.0, batch_events=1)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryEventLog, "append", lambda *_: fail(RedisFull("Redis is out of memory")))
        for text in ("a", "b", "c"):
            world.post(text)
            world.run(0.1)
        world.run(10.0)
        assert world.appender.counts.refused == {"redis_full": 3}
    world.post("d")
    world.run(1.0)
    world.link.disconnect()
    world.post("e")
    world.run(10.0)
    assert world.stored() == ["d"]
    assert world.appender.counts.refused == {"redis_full": 3, "redis_away": 1}
