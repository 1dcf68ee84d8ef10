"""
How long a peer may be silent, on a clock; over real links in
L{eventsvc.test.test_slow_link}.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from eventsvc.redis import silence
from eventsvc.test.fake_redis import FakeRedis, Link, bulk


@pytest.fixture
def link() -> Link:
    """A session with a server that answers nothing by itself."""
    return FakeRedis(answers={}).dial()


def is_open(link: Link) -> bool:
    """Whether the connection is there, now: the answer changes."""
    return link.open


def call(link: Link, timeout: float = 2.0, argument: bytes = b"") -> Deferred[Any]:
    answer = link.session.call("GET", argument, timeout=timeout)
    answer.addErrback(lambda failure: failure.value)
    link.redis.run()
    return answer


def test_a_reply_may_take_long_while_bytes_flow(link: Link) -> None:
    """A megabyte over a slow link: what has arrived would be read again and again, and never wholly."""
    answer = call(link)
    reply = bulk(b"x" * 20)
    for byte in reply[:-1]:
        link.redis.run(1.9)
        link.say(bytes([byte]))
    assert link.open
    link.say(reply[-1:])
    assert answer.result == b"x" * 20


def test_a_peer_that_falls_silent_in_a_reply_is_given_up(link: Link) -> None:
    """Two seconds after its last byte."""
    answer = call(link)
    link.redis.run(1.5)
    link.say(b"$100")
    link.redis.run(1.9)
    assert is_open(link)
    link.redis.run(0.1)
    assert not is_open(link)
    assert str(answer.result) == "connection to Redis lost: no reply within 2 s"


def test_a_peer_that_trickles_for_ever_is_given_up(link: Link) -> None:
    """A byte now and then is no reply: nobody can wait for it without end."""
    call(link)
    link.say(b"$1000000\r\n")
    for _ in range(100):
        link.redis.run(1.0)
        link.say(b"x")
    assert not link.open


def test_a_reply_extends_the_time_of_the_next_and_not_without_end(link: Link) -> None:
    """Commands are answered one after another: a slow one before it is no silence."""
    calls = [call(link) for _ in range(4)]
    for _ in range(3):
        link.redis.run(1.9)
        link.say(b":1\r\n")
    assert [each.called for each in calls] == [True, True, True, False]
    link.redis.run(1.9)
    assert is_open(link)
    link.redis.run(0.1)
    assert not is_open(link)


def test_a_short_call_after_a_long_one_has_its_own_time(link: Link) -> None:
    """The timer of a blocking read that was answered does not stand for the calls after it."""
    call(link, timeout=7.0)
    link.say(b":1\r\n")
    link.redis.run(0.5)
    call(link)
    link.redis.run(1.9)
    assert is_open(link)
    link.redis.run(0.1)
    assert not is_open(link)


def test_a_call_behind_a_blocking_read_waits_for_it(link: Link) -> None:
    """Redis answers in order."""
    call(link, timeout=7.0)
    behind = call(link)
    link.redis.run(6.0)
    link.say(b":1\r\n")
    link.redis.run(1.0)
    assert not behind.called
    link.say(b":2\r\n")
    assert behind.result == 2


def test_an_idle_connection_is_not_watched(link: Link) -> None:
    """Nothing is owed."""
    call(link)
    link.say(b":1\r\n")
    link.redis.run(3_600.0)
    assert link.open
    assert link.redis.clock.getDelayedCalls() == []


def test_many_calls_have_one_timer(link: Link) -> None:
    """One for each would cost more than the rest of a call."""
    for _ in range(100):
        call(link)
        link.redis.run(0.01)
    assert len(link.redis.clock.getDelayedCalls()) == 1
    link.say(b":1\r\n" * 100)
    link.redis.run(2.0)
    assert link.redis.clock.getDelayedCalls() == []


LARGE = b"x" * 100_000


@pytest.fixture
def sending(link: Link, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the system says of the bytes that were sent."""
    told = {"under way": 0, "confirmed": 1_000}
    monkeypatch.setattr(silence, "bytes_under_way", lambda tcp: told["under way"])
    monkeypatch.setattr(silence, "bytes_confirmed", lambda tcp: told["confirmed"])
    return told


def test_a_call_may_take_long_to_leave_while_it_is_confirmed(link: Link, sending: dict[str, int]) -> None:
    """And then the reply has its time."""
    sending["under way"] = 100_000
    call(link, argument=LARGE)
    for _ in range(20):
        link.redis.run(1.0)
        sending["confirmed"] += 5_000
        sending["under way"] -= 5_000
    assert is_open(link)
    link.redis.run(2.6)
    assert not is_open(link)


def test_a_call_that_no_longer_leaves_is_given_up_half_a_second_late_at_most(
    link: Link, sending: dict[str, int]
) -> None:
    """What was confirmed long before is no progress, and neither is a question that comes through."""
    sending["under way"] = 100_000
    call(link, argument=LARGE)
    link.redis.run(2.4)
    call(link)
    assert is_open(link)
    link.redis.run(0.2)
    assert not is_open(link)


def test_a_small_call_under_way_is_no_progress(link: Link, sending: dict[str, int]) -> None:
    """The system of a frozen peer confirms what is small."""
    sending["under way"] = 100
    call(link)
    for _ in range(4):
        link.redis.run(0.5)
        sending["confirmed"] += 20
    assert not is_open(link)
