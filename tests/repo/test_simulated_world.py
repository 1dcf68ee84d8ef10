"""
Tests for the world of the simulation: its clock, its network, and whole runs in which nothing is left to chance.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from eventsvc.consumer.recovery import Recovery
from eventsvc.event import Entry
from simulation.schedules.choices import Choice, Schedule, Setup
from simulation.schedules.generator import make_schedule
from simulation.schedules.kinds import KINDS
from simulation.world.faults import BEGIN, Faults
from simulation.world.process import Process
from simulation.world.run import run
from simulation.world.surroundings import surroundings
from simulation.world.transport import Transport
from simulation.world.world import World

ROOT = Path(__file__).parents[2]
#: Some of everything.
SETUP = Setup(seconds=5.0, replicas=2, producers=2, consumers=2, rate=6.0, settings={"REDIS_CLAIM_IDLE": "3"})
TARGETS = {
    "producer": "producer-1",
    "consumer": "consumer-1",
    "redis": "primary",
    "replica": "redis-2",
    "sentinel": "sentinel-1",
    "link": "consumer-1:primary",
    "client": "client-1",
    "handler": "consumer-1",
    "": "",
}


class Echo(Protocol):
    """Records what arrives, and sends it back."""

    transport: Any
    answers = True

    def __init__(self) -> None:
        self.received = b""
        self.lost: type[BaseException] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.answers:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason.type


class Caller(Echo):
    answers = False


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1, Setup())
    with surroundings(made):
        yield made


def call(world: World, port: int = 7) -> tuple[Caller, list[Exception], Process, Process]:
    """Let one process connect to another one, which echoes on port 7."""
    one, other = world.add_process("one"), world.add_process("other")
    world.network.listen(other, 7, Factory.forProtocol(Echo))
    caller, failures = Caller(), list[Exception]()
    world.network.connect(one, "other", port, lambda end: caller, failures.append)
    world.timeline.run_until(0.1)
    return caller, failures, one, other


def test_bytes_take_time_and_keep_their_order(world: World) -> None:
    """A connection is a stream, however long each message takes."""
    caller, *_ = call(world)
    for letter in "simulation":
        caller.transport.write(letter.encode())
    assert caller.received == b""
    world.timeline.run_until(1.0)
    assert caller.received == b"simulation"


def test_nothing_arrives_behind_a_gap(world: World) -> None:
    """A reply of which half arrives is the last thing that arrives."""
    caller, *_ = call(world)
    world.network.way("other", "one").trap = "half"
    caller.transport.write(b"1234")
    caller.transport.write(b"5678")
    world.timeline.run_until(1.0)
    assert (caller.received, caller.lost) == (b"12", ConnectionLost)


def test_silence_holds_bytes_up_and_loses_none(world: World) -> None:
    """TCP sends again what was not confirmed."""
    caller, *_ = call(world)
    world.network.silence("one", "other", True)
    caller.transport.write(b"held")
    world.timeline.run_until(5.0)
    assert caller.received == b""
    world.network.silence("one", "other", False)
    world.timeline.run_until(6.0)
    assert caller.received == b"held"


def test_a_killed_process_is_noticed_and_does_nothing_more(world: World) -> None:
    """Its kernel closes its connections; its timers do not fire; its port refuses."""
    caller, _, one, other = call(world)
    fired: list[str] = []
    other.reactor.callLater(1.0, fired.append, "late")
    caller.transport.write(b"never answered")
    other.kill()
    world.timeline.run_until(5.0)
    assert (caller.received, caller.lost, fired) == (b"", ConnectionLost, [])
    failures: list[Exception] = []
    world.network.connect(one, "other", 7, lambda end: Caller(), failures.append)
    world.timeline.run_until(6.0)
    assert [type(each) for each in failures] == [ConnectionRefusedError]


def test_a_suspended_process_goes_on_with_its_timers_then_its_messages(world: World) -> None:
    """That is what a reactor does: it may take a peer for dead whose reply has arrived."""
    caller, _, one, _other = call(world)
    order: list[str] = []
    caller.dataReceived = lambda data: order.append("message")  # type: ignore[method-assign]
    world.suspend(one)
    caller.transport.write(b"?")
    one.reactor.callLater(2.0, order.append, "timer")
    world.timeline.run_until(3.0)
    assert order == []
    world.timeline.go_on(one)
    world.timeline.run_until(3.0)
    assert order == ["timer", "message"]


def test_a_process_that_blocks_takes_time(world: World) -> None:
    """Its clock goes on, and what is due meanwhile comes after."""
    process = world.add_process("one")
    seen: list[float] = []

    def block() -> None:
        process.block(2.0)
        seen.append(process.reactor.seconds())

    process.reactor.callLater(1.0, block)
    process.reactor.callLater(1.5, lambda: seen.append(process.reactor.seconds()))
    world.timeline.run_until(10.0)
    assert seen == [3.0, 3.0]


def test_a_wall_clock_may_jump_and_drift(world: World) -> None:
    """Timers do not."""
    process = world.add_process("one")
    began = process.wall.time()
    process.wall.change(step=-90.0)
    process.wall.change(rate=1.1)
    world.timeline.run_until(10.0)
    assert process.wall.time() - began == pytest.approx(-79.0)
    assert process.reactor.seconds() == 10.0


def test_each_kind_of_fault_can_be_done() -> None:
    assert set(BEGIN) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_services_keep_their_promises_under_each_fault(kind: str) -> None:
    """The fault begins, and everything is stored and handled some time after it."""
    amount = {"drift": 1.05}.get(kind, 0.5)
    target = TARGETS[KINDS[kind].roles[0]]
    choice = Choice(kind=kind, target=target, at=2.0, seconds=1.5, amount=amount, what="xadd")
    record = run(Schedule(seed=7, setup=SETUP, choices=(choice,))).record
    assert record.broken == record.missing == ()
    assert [meeting.kind for meeting in record.meetings] == [kind]
    assert record.recovery is not None
    assert record.ledger["confirmed"] > 10


@pytest.mark.parametrize("seconds", [0.2, 12.0])
@pytest.mark.parametrize("kind", ["promote", "switch", "isolate"])
def test_services_follow_a_name_that_moves(kind: str, seconds: float) -> None:
    """Also one that leads to the old primary until that is a replica, and so loses what it took meanwhile."""
    setup = replace(SETUP, moves=seconds)
    choice = Choice(kind=kind, target="redis-1", at=2.0, seconds=4.0)
    done = run(Schedule(seed=7, setup=setup, choices=(choice,)))
    assert done.record.broken == done.record.missing == ()
    assert any("answers append" in line.words for line in done.journal if line.who == done.world.servers.primary.host)
    assert done.world.servers.primary.host != "redis-1"
    assert not any(end.way.target.startswith("sentinel") for end in done.world.network.ends)


def test_a_consumer_that_waits_for_its_handler_leaves_redis_alone() -> None:
    """It asks less than ten times a second, however many events wait."""
    hang = Choice(kind="hang", target="consumer-1", at=4.0, seconds=30.0)
    world = World(1, Setup(rate=3.0, settings=SETUP.settings))
    asked = [0]

    def watch(end: Transport, _: bytes) -> None:
        asked[0] += end.process.name == "consumer-1"

    with surroundings(world):
        Faults(world, (hang,))
        world.start()
        world.timeline.run_until(10.0)
        world.network.watchers.append(watch)
        world.timeline.run_until(30.0)
        world.close()
    assert 20 < asked[0] < 200


def test_a_fault_may_begin_at_a_step() -> None:
    """The producer dies when the reply to its third batch is on its way."""
    choice = Choice(kind="kill", target="producer-1", at=1.0, on="reply:append", nth=3, seconds=0.5)
    done = run(Schedule(seed=3, setup=Setup(seconds=5.0), choices=(choice,)))
    assert done.record.broken == ()
    assert [(each.role, each.phase) for each in done.record.meetings] == [("producer", "append")]


def test_a_process_that_does_not_return_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_nothing(self: Recovery, count: int, size: int) -> Sequence[Entry]:
        return ()

    monkeypatch.setattr(Recovery, "take_up_own", find_nothing)
    monkeypatch.setattr("simulation.world.run._MOST_PROCESSOR", 2.0)
    findings = run(Schedule(seed=1, setup=Setup(seconds=5.0))).record.broken
    assert [each for each in findings if "consumer-1 does not return, in the world of seed 1 at" in each]


_DIGESTS = """
from simulation.schedules.generator import make_schedule
from simulation.world.run import run
for seed in (10, 17, 20):
    record = run(make_schedule(seed)).record
    print(record.digest, record.ledger, record.broken)
"""


def test_the_same_seed_gives_the_same_bytes_in_any_process() -> None:
    """Whatever the hash seed, and whatever was run before."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _DIGESTS],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert run(make_schedule(17)).record.digest == outputs[0].splitlines()[1].split()[0]
