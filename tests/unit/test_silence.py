"""
Tests for L{eventsvc.redis.silence} on a fake clock; over real links in
L{tests.unit.test_slow_link}.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from eventsvc.redis import silence
from eventsvc.redis.silence import Silence, bytes_confirmed, bytes_under_way
from tests.support.fake_redis import FakeRedis, Link, bulk


@pytest.fixture
def link() -> Link:
    """Return a session with a server that answers only on request."""
    return FakeRedis(answers={}).dial()


def is_open(link: Link) -> bool:
    """Return whether the connection is open now; a function, so that mypy does not narrow the type."""
    return link.open


def call(link: Link, timeout: float = 2.0, argument: bytes = b"") -> Deferred[Any]:
    answer = link.session.call("GET", argument, timeout=timeout)
    answer.addErrback(lambda failure: failure.value)
    link.redis.run()
    return answer


def test_a_reply_may_take_long_while_bytes_flow(link: Link) -> None:
    """If a large reply over a slow link timed out, it would be read again and again, and never completely."""
    answer = call(link)
    reply = bulk(b"x" * 20)
    for byte in reply[:-1]:
        link.redis.run(1.9)
        link.say(bytes([byte]))
    assert link.open
    link.say(reply[-1:])
    assert answer.result == b"x" * 20


def test_a_peer_that_falls_silent_in_a_reply_is_given_up(link: Link) -> None:
    """The limit is two seconds after its last byte."""
    answer = call(link)
    link.redis.run(1.5)
    link.say(b"$100")
    link.redis.run(1.9)
    assert is_open(link)
    link.redis.run(0.1)
    assert not is_open(link)
    assert str(answer.result) == "connection to Redis lost: no reply within 2 s"


def test_a_peer_that_trickles_for_ever_is_given_up(link: Link) -> None:
    """An occasional byte does not extend the wait without limit."""
    call(link)
    link.say(b"$1000000\r\n")
    for _ in range(100):
        link.redis.run(1.0)
        link.say(b"x")
    assert not link.open


def test_a_call_has_a_minute_beyond_its_time_at_most(link: Link) -> None:
    """Then the connection ends, even if bytes still flow."""
    call(link, timeout=5.0)
    link.say(b"$1000000\r\n")
    for _ in range(64):
        link.redis.run(1.0)
        link.say(b"x")
    link.redis.run(0.75)
    assert is_open(link)
    link.redis.run(0.25)
    assert not is_open(link)


def test_the_oldest_call_decides_when_the_peer_is_silent(link: Link) -> None:
    """A later call with more time does not extend the deadline."""
    oldest = call(link)
    call(link, timeout=7.0)
    link.redis.run(2.0)
    assert str(oldest.result) == "connection to Redis lost: no reply within 2 s"


def test_a_reply_that_arrives_at_the_deadline_is_in_time(link: Link) -> None:
    """Replies are read before the peer is given up; the next call is watched as usual."""
    answer = call(link)
    link.redis.clock.callLater(2.0, link.say, b":1\r\n")
    link.redis.run(2.0)
    assert answer.result == 1
    call(link)
    link.redis.run(1.75)
    assert is_open(link)
    link.redis.run(0.25)
    assert not is_open(link)


def test_a_reply_at_the_deadline_extends_the_time_of_the_next_call(link: Link) -> None:
    """The next call is still watched."""
    call(link)
    link.redis.run(1.0)
    call(link)
    link.redis.clock.callLater(1.0, link.say, b":1\r\n")
    link.redis.run(2.75)
    assert is_open(link)
    link.redis.run(0.25)
    assert not is_open(link)


def test_a_reply_extends_the_time_of_the_next_and_not_without_end(link: Link) -> None:
    """Commands are answered in order, so a slow earlier one is not silence."""
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
    """The timer of an answered blocking read does not apply to later calls."""
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
    """No reply is due."""
    call(link)
    link.say(b":1\r\n")
    link.redis.run(3_600.0)
    assert link.open
    assert link.redis.clock.getDelayedCalls() == []


def test_a_call_after_an_idle_time_is_watched(link: Link) -> None:
    """The timer is set again."""
    call(link)
    link.say(b":1\r\n")
    link.redis.run(60.0)
    call(link)
    link.redis.run(1.75)
    assert is_open(link)
    link.redis.run(0.25)
    assert not is_open(link)


def timers(link: Link) -> Sequence[IDelayedCall]:
    """Return the active timers."""
    return link.redis.clock.getDelayedCalls()


def test_a_call_with_less_time_replaces_the_timer(link: Link) -> None:
    """The timer of the blocking read before it is cancelled."""
    call(link, timeout=7.0)
    call(link)
    assert [timer.getTime() for timer in timers(link)] == [2.0]


def test_calls_of_one_moment_set_the_timer_once(link: Link) -> None:
    """A batch of calls costs one timer."""
    call(link)
    [first] = timers(link)
    call(link)
    [second] = timers(link)
    assert second is first


def test_a_reply_that_arrives_in_pieces_needs_no_sampling(link: Link) -> None:
    """The timer wakes at the new deadline."""
    call(link)
    link.redis.run(1.0)
    link.say(b"$100")
    link.redis.run(1.0)
    assert [timer.getTime() for timer in timers(link)] == [3.0]


@pytest.mark.parametrize(("size", "timeout", "wakes"), [(65_535, 2.0, 2.0), (65_536, 2.0, 0.5), (65_536, 0.25, 0.25)])
def test_only_a_large_call_is_sampled_while_it_is_sent(size: int, timeout: float, wakes: float) -> None:
    """Every half second, unless its deadline is earlier."""
    clock = Clock()
    Silence(clock, pytest.fail).sent(size, timeout)
    [timer] = clock.getDelayedCalls()
    assert timer.getTime() == wakes


def test_many_calls_have_one_timer(link: Link) -> None:
    """A timer for each call would cost more than the rest of the call."""
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
    """Set what the system reports about the bytes sent."""
    told = {"under way": 0, "confirmed": 1_000}
    monkeypatch.setattr(silence, "bytes_under_way", lambda tcp: told["under way"])
    monkeypatch.setattr(silence, "bytes_confirmed", lambda tcp: told["confirmed"])
    return told


def test_a_call_may_take_long_to_leave_while_it_is_confirmed(link: Link, sending: dict[str, int]) -> None:
    """After that the reply has its own timeout."""
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
    """Old confirmations are not progress, and neither is a probe that is answered."""
    sending["under way"] = 100_000
    call(link, argument=LARGE)
    link.redis.run(2.4)
    call(link)
    assert is_open(link)
    link.redis.run(0.2)
    assert not is_open(link)


def test_a_small_call_under_way_is_no_progress(link: Link, sending: dict[str, int]) -> None:
    """The system of a frozen peer still confirms small data."""
    sending["under way"] = 100
    call(link)
    for _ in range(4):
        link.redis.run(0.5)
        sending["confirmed"] += 20
    assert not is_open(link)


@pytest.mark.parametrize(("under_way", "wakes"), [(512, 2.0), (513, 1.0)])
def test_sampling_ends_when_little_is_under_way(
    link: Link, sending: dict[str, int], under_way: int, wakes: float
) -> None:
    """A few bytes may be keep-alive probes."""
    sending["under way"] = under_way
    call(link, argument=LARGE)
    link.redis.run(0.5)
    assert [timer.getTime() for timer in timers(link)] == [wakes]


def test_progress_counts_from_the_sample_that_finds_it(link: Link, sending: dict[str, int]) -> None:
    """A confirmation at 1.25 s is found at 1.5 s, so the peer is silent at 3.5 s."""
    sending["under way"] = 100_000
    call(link, argument=LARGE)
    link.redis.run(1.25)
    sending["confirmed"] += 5_000
    link.redis.run(2.0)
    assert is_open(link)
    link.redis.run(0.25)
    assert not is_open(link)


@attrs.define
class Sender:
    """A transport that holds 37 bytes, on a socket whose C{tcp_info} a test chooses."""

    ask: Callable[[], bytes] = bytes
    dataBuffer: bytes = b"x" * 50
    offset: int = 20
    _tempDataLen: int = 7

    @property
    def socket(self) -> Sender:
        return self

    def fileno(self) -> int:
        return 99

    def getsockopt(self, *which: int) -> bytes:
        return self.ask()


def closed(*arguments: Any) -> bytes:
    raise OSError


def without_descriptor(*arguments: Any) -> bytes:
    raise ValueError


def test_bytes_under_way_are_those_of_the_transport_and_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unsent rest of the buffer, the data behind it, and the send queue of the socket."""
    monkeypatch.setattr(silence, "ioctl", lambda *arguments: struct.pack("i", 1_000))
    assert bytes_under_way(Sender()) == 1_037


@pytest.mark.parametrize("answer", [closed, without_descriptor])
def test_no_bytes_are_under_way_on_a_closed_socket(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(silence, "ioctl", answer)
    assert bytes_under_way(Sender()) == 0


def test_confirmed_bytes_are_read_from_tcp_info() -> None:
    """C{tcpi_bytes_acked}: eight bytes at offset 120."""
    info = b"x" * 120 + (5_000_000_000).to_bytes(8, sys.byteorder)
    assert bytes_confirmed(Sender(lambda: info)) == 5_000_000_000


def test_nothing_is_known_of_bytes_where_the_system_does_not_say() -> None:
    """Without a TCP transport, and after it is closed."""
    assert (bytes_under_way(None), bytes_confirmed(None)) == (0, 0)
    assert bytes_confirmed(Sender(closed)) == 0
