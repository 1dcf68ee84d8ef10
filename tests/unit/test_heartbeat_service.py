"""
Tests for L{eventsvc.tap.heartbeats} on a fake clock: when heartbeats are left, and what happens without Redis.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from eventsvc.errors import Refused, Unknown
from eventsvc.heartbeat import Heartbeat
from eventsvc.tap.heartbeats import Heartbeats, Identity
from eventsvc.web.health import Health


@attrs.define
class World:
    """A process, and the heartbeats that Redis got."""

    clock: Clock = attrs.field(factory=Clock)
    ready: bool = True
    answer: Any = None
    left: list[Heartbeat] = attrs.field(factory=list)
    gone: list[str] = attrs.field(factory=list)
    problem: str = ""
    live: bool = True
    heartbeats: Heartbeats = attrs.field(init=False)

    @heartbeats.default
    def _make(self) -> Heartbeats:
        health = Health(is_live=lambda: self.live, not_ready=lambda: self.problem, metrics=lambda: b"")
        identity = Identity("consumer", "me", "group", id="a", host="host", pid=1, started=5.0)
        processes: Any = self
        return Heartbeats(processes, identity, health, lambda: ({"handled": 3.0}, {}), self.clock)

    @property
    def connection(self) -> World:
        return self

    def reply(self) -> Deferred[Any]:
        if isinstance(self.answer, Deferred):
            return self.answer
        return fail(self.answer) if self.answer else succeed(None)

    def beat(self, heartbeat: Heartbeat) -> Deferred[Any]:
        self.left.append(heartbeat)
        return self.reply()

    def leave(self, id: str) -> Deferred[Any]:
        self.gone.append(id)
        return self.reply()

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.heartbeats.beat()


@pytest.fixture
def world() -> World:
    made = World()
    made.heartbeats.startService()
    return made


def test_a_heartbeat_is_left_every_two_seconds(world: World) -> None:
    world.run(60)
    assert 29 <= len(world.left) <= 31
    last = world.left[-1]
    assert (last.role, last.name, last.group, last.host, last.pid, last.started) == (
        *("consumer", "me", "group", "host", 1, 5.0),
    )
    assert last.uptime == pytest.approx(59, abs=1)
    assert last.figures["handled"] == 3.0
    assert last.figures["cpu_seconds"] > 0


def test_after_a_pause_nothing_is_made_up_for(world: World) -> None:
    world.clock.advance(1_000.5)
    world.run(10)
    assert len(world.left) <= 6


def test_health_is_told(world: World) -> None:
    world.run(1)
    world.problem = "no handler"
    world.run(2)
    world.live = False
    world.run(2)
    assert [beat.problem for beat in world.left] == ["", "no handler", "it makes no progress"]


@pytest.mark.parametrize("failure", [Refused("no"), Unknown("no answer")])
def test_a_failure_is_not_the_end(world: World, failure: Exception) -> None:
    world.answer = failure
    world.run(10)
    world.answer = None
    world.run(2)
    assert len(world.left) >= 5


def test_there_is_one_question_at_a_time_and_none_without_redis(world: World) -> None:
    world.ready = False
    world.run(10)
    assert world.left == []
    world.ready, world.answer = True, Deferred()
    world.run(10)
    assert len(world.left) == 1


@pytest.mark.parametrize("answer", [None, Unknown("no answer"), Refused("no")])
def test_an_end_removes_it_at_once(world: World, answer: Any) -> None:
    world.answer = answer
    stopped = world.heartbeats.stopService()
    assert stopped.called
    assert world.gone == ["a"]
    world.run(10)
    assert world.left == []
    assert world.clock.getDelayedCalls() == []


def test_an_end_does_not_wait_for_long(world: World) -> None:
    answer: Deferred[None] = Deferred()
    world.answer = answer
    stopped = world.heartbeats.stopService()
    world.clock.advance(0.4)
    ended: list[None] = []
    stopped.addCallback(ended.append)
    assert ended == []
    world.clock.advance(0.2)
    assert ended == [None]
    answer.callback(None)
