"""
Tests for L{eventsvc.producer.room}: on a fake clock, with a history in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.errors import Refused, Unknown
from eventsvc.memory import Memory
from eventsvc.producer.room import Room

#: Bytes of an entry, and the memory of the server.
ENTRY, LIMIT = 1_000, 10_000_000


@attrs.define
class Server:
    """
    A server with acknowledged entries and other data.

    @ivar errors: of the next operations; C{None} for none.
    @ivar takes: seconds that the next operation takes.
    """

    clock: Clock
    history: int = 0
    other: int = 0
    limit: int = LIMIT
    errors: list[Exception | None] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    takes: float = 0.0

    def memory(self) -> Deferred[Memory]:
        return self._answer("memory", lambda: Memory(self.history * ENTRY + self.other, self.limit))

    def trim(self) -> Deferred[int]:
        def remove() -> int:
            removed = min(self.history, 1_000)
            self.history -= removed
            return removed

        return self._answer("trim", remove)

    def _answer(self, name: str, do: Any) -> Deferred[Any]:
        self.asked.append(name)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            return fail(error)
        if not self.takes:
            return succeed(do())
        waiting: Deferred[Any] = Deferred()
        self.clock.callLater(self.takes, lambda: waiting.callback(do()))
        return waiting


@attrs.define
class World:
    clock: Clock
    server: Server
    room: Room
    batches: int = 0
    logs: Sequence[Any] = ()

    def run(self, seconds: int) -> None:
        """Let time pass, with a beat every second."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.room.beat()

    def alarms(self) -> list[str]:
        """Return the lines so far: the alarms, and the ends of them."""
        return [event["log_format"].split(":")[0].split(" again")[0] for event in self.logs]


@pytest.fixture
def world() -> Iterator[World]:
    clock = Clock()
    server = Server(clock)
    made = World(clock, server, Room(server, clock, lambda: made.batches))
    with capturedLogs() as logs:
        made.logs = logs
        yield made
    assert clock.getDelayedCalls() == []


FULL, ENDED = "Redis is full", "Redis takes new events"


def test_memory_is_asked_for_seldom(world: World) -> None:
    """Every five seconds, because nobody but the figures needs it."""
    world.run(60)
    assert world.server.asked == ["memory"] * 12
    assert world.room.memory == Memory(0, LIMIT)


def test_history_gives_way_before_memory_is_full(world: World) -> None:
    """As much of it as is needed, with nobody refused."""
    world.server.history, world.server.other = 5_500, 3_000_000
    world.run(5)
    assert (world.server.history, world.room.trimmed) == (4_500, 1_000)
    assert (world.room.memory.share, world.room.is_full, world.alarms()) == (0.75, False, [])


def test_what_was_refused_finds_room(world: World) -> None:
    """At once, and that is no alarm: the batch is sent again."""
    world.server.history, world.server.other = 5_000, 5_000_000
    world.room.refused()
    assert (world.server.history, world.room.is_full, world.alarms()) == (2_000, False, [])


@pytest.mark.parametrize("limit", [0, LIMIT])
def test_one_step_is_trimmed_though_memory_seems_enough(world: World, limit: int) -> None:
    """The server knows better: the user may not ask it, or the batch was larger than the rest."""
    world.server.history, world.server.limit = 5_000, limit
    world.room.refused()
    assert (world.server.history, world.server.asked) == (4_000, ["memory", "trim", "memory"])
    assert not world.room.is_full


def test_a_full_server_without_history_is_an_alarm_once(world: World) -> None:
    """However many batches are refused; it ends once one is stored and none is refused."""
    world.server.other = LIMIT
    for _ in range(100):
        world.room.refused()
        world.run(1)
    assert (world.room.is_full, world.alarms()) == (True, [FULL])
    assert world.logs[0]["details"] == {"alarm": "redis_full"}
    assert world.logs[0]["why"] == "No acknowledged entry is left to trim"
    world.batches += 1
    world.room.refused()
    world.batches += 1
    world.room.refused()
    world.run(1)
    assert world.room.is_full
    world.run(10)
    assert world.room.is_full
    world.batches += 1
    world.run(1)
    assert (world.room.is_full, world.alarms()) == (False, [FULL, ENDED])


def test_it_ends_without_a_batch_once_memory_is_enough(world: World) -> None:
    """Nobody may post any more, and the figure must not stay."""
    world.server.other = LIMIT
    world.room.refused()
    for share, is_full in ((0.99, True), (0.76, True), (0.75, False)):
        world.server.other = int(LIMIT * share)
        world.run(1)
        assert world.room.is_full is is_full


@pytest.mark.parametrize(("limit", "seconds"), [(0, 5), (LIMIT * 5 // 4, 30)], ids=["no limit", "more memory"])
def test_it_ends_though_nobody_posts(world: World, limit: int, seconds: int) -> None:
    """Another server took over, which has no limit; or memory was added, though it is not plenty."""
    world.server.other = LIMIT
    world.room.refused()
    world.run(60)
    assert world.alarms() == [FULL]
    world.server.limit = limit
    world.run(seconds)
    assert not world.room.is_full
    assert world.alarms() == [FULL, ENDED]


def test_it_does_not_end_while_batches_are_refused(world: World) -> None:
    """They are larger than what is left."""
    world.server.other = LIMIT - 1
    for _ in range(100):
        world.room.refused()
        world.run(10)
    assert world.alarms() == [FULL]


def test_without_the_right_to_ask_only_a_batch_ends_it(world: World) -> None:
    world.server.limit = 0
    world.room.refused()
    world.run(10)
    assert world.room.is_full
    world.batches += 1
    world.run(1)
    assert not world.room.is_full


def test_acknowledged_later_is_trimmed_later(world: World) -> None:
    """While it is full, each beat looks for what a group has acknowledged since."""
    world.server.other = LIMIT - 3_000_000
    world.room.refused()
    assert world.room.is_full
    world.server.history = 3_000
    world.run(1)
    assert (world.server.history, world.room.is_full, world.room.memory.share) == (0, False, 0.7)


def test_without_the_right_to_trim_it_says_so(world: World) -> None:
    """New events are refused as before; nothing breaks."""
    world.server.history, world.server.other = 5_000, LIMIT
    world.server.errors = [None, Refused("Redis denies access")]
    world.room.refused()
    assert (world.room.is_full, world.server.history, world.alarms()) == (True, 5_000, [FULL])
    assert world.logs[0]["why"] == "History could not be trimmed: Redis denies access"


def test_without_that_right_and_with_nothing_refused_it_is_silent(world: World) -> None:
    """Consumers may trim."""
    world.server.history = 9_000
    world.server.errors = [None, Refused("Redis denies access")] * 10
    world.run(50)
    assert world.alarms() == []


def test_a_lost_connection_proves_nothing(world: World) -> None:
    for errors in ([Unknown("no reply")], [Refused("Redis is not connected")], [None, Unknown("no reply")]):
        world.server.errors = [*errors]
        world.room.refused()
        assert (world.room.is_full, world.alarms()) == (False, [])
    world.room.refused()
    assert (world.room.is_full, world.alarms()) == (True, [FULL])
    world.server.errors = [Unknown("no reply")]
    world.batches += 1
    world.run(1)
    assert world.room.is_full
    world.run(1)
    assert not world.room.is_full


def test_one_look_at_a_time(world: World) -> None:
    """Refusals and beats meanwhile start no other; and one look does not trim for long."""
    world.server.history, world.server.takes = 50_000, 0.15
    world.room.refused()
    for _ in range(5):
        world.room.refused()
        world.room.beat()
    assert world.server.asked == ["memory"]
    for _ in range(10):
        world.clock.advance(0.15)
    assert world.server.asked == ["memory", "trim"] * 2
    assert world.room.trimmed == 2_000
    world.room.refused()
    for _ in range(10):
        world.clock.advance(0.15)
    assert world.room.trimmed == 4_000
