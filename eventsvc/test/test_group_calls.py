"""
Tests for L{eventsvc.redis.group}: what it sends, in the units of Redis.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from eventsvc.redis.group import RedisEventGroup
from eventsvc.redis.silence import REPLY_TIMEOUT


@attrs.define
class Recorder:
    """A connection that keeps what it is given and answers nothing."""

    calls: list[tuple[Any, ...]] = attrs.field(factory=list)
    timeouts: list[float] = attrs.field(factory=list)

    def call(self, *arguments: Any, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        self.calls.append(arguments)
        self.timeouts.append(timeout)
        return succeed(None)

    def run(self, script: Any, keys: Any, arguments: Any, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        self.calls.append(tuple(arguments))
        return Deferred()


@pytest.mark.parametrize(
    ("block", "sent"), [(0.25, ["BLOCK", 250]), (0.0001, ["BLOCK", 1]), (0.0, []), (5.0, ["BLOCK", 5000])]
)
def test_a_read_blocks_for_milliseconds_and_its_deadline_includes_that(block: float, sent: list[Any]) -> None:
    """Not blocking at all is to leave it out: BLOCK 0 is for ever."""
    recorder = Recorder()
    connection: Any = recorder
    RedisEventGroup(connection, "stream", "group", "consumer").read(7, block)
    assert recorder.calls == [
        ("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 7, *sent, "STREAMS", "stream", ">"),
    ]
    assert recorder.timeouts == [block + REPLY_TIMEOUT]


def test_idle_times_are_sent_in_milliseconds() -> None:
    recorder = Recorder()
    connection: Any = recorder
    group = RedisEventGroup(connection, "stream", "group", "consumer")
    group.claim(30.0, "0-0", 5, 1000)
    group.remove_stale(3600.5)
    assert recorder.calls == [
        ("group", "consumer", 30_000, "0-0", 5, 1000),
        ("group", "consumer", 3_600_500),
    ]
