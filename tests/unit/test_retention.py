"""
Tests for L{eventsvc.consumer.retention}: on a fake clock, with a group in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from eventsvc.consumer.retention import Retention
from eventsvc.event import EVENT_FIELD
from eventsvc.interfaces import Refused, Unknown
from eventsvc.memory import Memory
from eventsvc.testing import Fate, Link, MemoryEventGroup, MemoryStream
from eventsvc.testing.clock import run_clock
from eventsvc.testing.log import Group, Pending


@attrs.define
class World:
    """A stream with a group, and a retention of 100 entries."""

    clock: Clock
    stream: MemoryStream
    link: Link
    retention: Retention
    outcomes: list[object] = attrs.field(factory=list)

    def add_handled(self, count: int) -> None:
        """Add events that the group has read and acknowledged."""
        for _ in range(count):
            self.stream.add({EVENT_FIELD: b"x"})
        self.stream.groups["group"].last = max(self.stream.entries)

    def begin(self) -> Deferred[None]:
        """Begin to trim, and record the result."""
        trimming = ensureDeferred(self.retention.trim())
        return trimming.addBoth(lambda result: self.outcomes.append(getattr(result, "value", result)))

    def trim(self) -> object:
        """Trim, and return the result."""
        self.begin()
        run_clock(self.clock, 10.0)
        return self.outcomes.pop()

    def reopen(self) -> None:
        """Open the group on the present connection."""
        self.retention.group.open()
        run_clock(self.clock, 1.0)

    @property
    def length(self) -> int:
        return len(self.stream.entries)


@pytest.fixture
def world() -> Iterator[World]:
    clock = Clock()
    stream, link = MemoryStream(clock), Link(clock)
    stream.groups["group"] = Group()
    yield World(clock, stream, link, Retention(MemoryEventGroup(stream, link), clock, 100))
    assert clock.getDelayedCalls() == []


def test_a_short_stream_is_left_alone(world: World) -> None:
    """It costs one call."""
    world.add_handled(100)
    assert world.trim() is None
    assert (world.length, world.retention.trimmed, world.link.operations) == (100, 0, ["memory", "trim"])


def test_a_long_stream_is_trimmed_step_by_step(world: World) -> None:
    """It is trimmed to its length, and removed entries are counted."""
    world.add_handled(3_456)
    assert world.trim() is None
    assert (world.length, world.retention.trimmed) == (100, 3_356)
    assert world.link.operations == ["memory", "trim"] * 5
    world.add_handled(10)
    assert world.trim() is None
    assert (world.length, world.retention.trimmed) == (100, 3_366)


def test_what_is_not_acknowledged_ends_it(world: World) -> None:
    """It does not repeat a trim that removes nothing."""
    world.add_handled(3_456)
    world.stream.groups["group"].pending[2_001] = Pending("consumer", 0.0)
    assert world.trim() is None
    assert (min(world.stream.entries), world.retention.trimmed) == (2_001, 2_000)
    assert len(world.link.operations) == 6


def test_it_does_not_hold_up_the_reader(world: World) -> None:
    """After a fifth of a second it leaves the rest for the next run."""
    world.add_handled(10_000)
    world.link.latency = 0.15
    world.begin()
    run_clock(world.clock, 0.301)
    assert world.outcomes == [None]
    assert world.retention.trimmed == 1_000
    for _ in range(9):
        world.trim()
    assert world.length == 100


@pytest.mark.parametrize(
    ("fate", "error"),
    [(Fate.REFUSED, Refused), (Fate.CUT_BEFORE, Unknown), (Fate.CUT_AFTER, Unknown), (Fate.LATE, Unknown)],
)
def test_trouble_is_passed_on(world: World, fate: Fate, error: type[Exception]) -> None:
    """The error reaches the reader; removed entries stay counted, and the next run continues."""
    world.add_handled(3_100)
    world.link.expect(Fate.FINE, Fate.FINE, Fate.FINE, fate)
    assert isinstance(world.trim(), error)
    assert world.retention.trimmed == 1_000
    world.reopen()
    assert world.trim() is None
    assert world.length == 100


@pytest.mark.parametrize(("hard_max", "length"), [(1_000, 100), (134, 100), (132, 99), (100, 75), (40, 30), (1, 0)])
def test_history_leaves_room_below_the_hard_limit(world: World, hard_max: int, length: int) -> None:
    """The producer refuses events at that limit, so history is trimmed first, whatever its length."""
    world.retention.hard_max = hard_max
    world.add_handled(200)
    assert world.trim() is None
    assert (world.length, world.retention.headroom) == (max(1, length), hard_max - length)


@pytest.mark.parametrize(("hard_max", "most"), [(1_000_000, 10_000), (1_000, 225), (132, 8), (1, 1)])
def test_it_is_due_each_second_and_before_the_room_below_the_hard_limit_is_used_up(
    world: World, hard_max: int, most: int
) -> None:
    """A quarter of that room is left to each round: one may fail, and it takes time."""
    world.retention.hard_max = hard_max
    chore = world.retention.chore
    chore.end(0.0, handled=5)
    assert [chore.is_due(0.9, 4 + most), chore.is_due(0.0, 5 + most), chore.is_due(1.0, 5)] == [False, True, True]


@pytest.mark.parametrize(("used", "length"), [(0.0, 60), (0.74, 60), (0.76, 11), (1.2, 11)])
def test_history_gives_way_when_memory_is_short(world: World, used: float, length: int) -> None:
    """However short history is, but never unacknowledged entries."""
    world.add_handled(60)
    world.stream.groups["group"].pending[50] = Pending("consumer", 0.0)
    world.stream.memory = Memory(round(used * 100), 100)
    assert world.trim() is None
    assert world.length == length


def test_the_share_of_memory_for_history_is_set(world: World) -> None:
    """What was last seen is kept for the figures."""
    world.add_handled(60)
    world.stream.memory = Memory(30, 100)
    for share, length in ((0.5, 60), (0.2, 1)):
        world.retention.share = share
        assert world.trim() is None
        assert (world.length, world.retention.memory) == (length, Memory(30, 100))


def test_history_stays_once_memory_is_enough_again(world: World) -> None:
    """Memory is checked before each step."""
    world.add_handled(3_000)
    world.retention.max_len, world.stream.memory = 5_000, Memory(90, 100)
    world.begin()
    run_clock(world.clock, 0.0015)
    world.stream.memory = Memory(70, 100)
    run_clock(world.clock, 1.0)
    assert world.outcomes == [None]
    assert world.length == 2_000
