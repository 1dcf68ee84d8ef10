"""
Tests for L{eventsvc.tap.demo}: the account and the screen on a clock, the link over real sockets.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.wire import Echo

from chaos.process import stable_port
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.interfaces import Refused
from eventsvc.measures import Measures
from eventsvc.producer.counts import ProducerCounts
from eventsvc.tap.demo.account import Account
from eventsvc.tap.demo.faulty_link import Faults, FaultyLink
from eventsvc.tap.demo.screen import Screen, make_console

DONE = Measures(length=11, dead=0, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
BUSY = attrs.evolve(DONE, unread_age=1.0)


@attrs.define
class World:
    """An account on a clock, of ten events in and out."""

    measures: list[Measures | Exception]
    produced: ProducerCounts = attrs.field(factory=lambda: ProducerCounts(accepted=10))
    consumed: ConsumerCounts = attrs.field(factory=lambda: ConsumerCounts(handled=10))
    clock: Clock = attrs.field(factory=Clock)
    account: Account = attrs.field(init=False)

    @account.default
    def _make_account(self) -> Account:
        return Account(self.produced, self.consumed, self.measure, self.clock, most=1_000)

    def measure(self) -> Deferred[Measures]:
        found = self.measures.pop(0) if len(self.measures) > 1 else self.measures[0]
        return fail(found) if isinstance(found, Exception) else succeed(found)

    def end(self) -> str:
        self.account.startService()
        ended = self.account.stopService()
        self.clock.pump([0.05] * 400)
        assert ended.called
        return self.account.summary()


@pytest.mark.parametrize(
    ("measures", "accepted", "handled", "said"),
    [
        ([DONE], 10, 10, "10 in, 10 out, 0 lost"),
        ([BUSY, BUSY, DONE], 10, 10, "10 in, 10 out, 0 lost"),
        ([DONE], 12, 10, "12 in, 10 out, 2 lost"),
        ([DONE], 9, 10, "9 in, 10 out (1 again or from before), 0 lost"),
        ([BUSY], 10, 9, "10 in, 9 out, not all handled when it ended"),
        ([Refused("no"), Refused("no"), DONE], 10, 10, "10 in, 10 out, 0 lost"),
        ([Refused("no")], 10, 10, "10 in, 10 out, not all handled when it ended"),
        ([attrs.evolve(DONE, dead=1)], 10, 9, "10 in, 9 out, 1 dead letter, 0 lost"),
        ([attrs.evolve(DONE, length=1_000)], 10_000, 10_000, "10,000 in, 10,000 out, 0 lost"),
    ],
)
def test_the_account_at_the_end(measures: list[Measures | Exception], accepted: int, handled: int, said: str) -> None:
    """The end waits for events that are on their way, but not for ever."""
    world = World(measures, ProducerCounts(accepted=accepted), ConsumerCounts(handled=handled))
    assert world.end() == said


def test_events_that_were_not_accepted_are_told() -> None:
    produced = ProducerCounts(accepted=10, unknown=2)
    produced.refused["full"] = 3
    assert World([DONE], produced).end() == "10 in, 10 out, 3 refused, 2 not confirmed, 0 lost"


def test_what_redis_forgot_is_lost() -> None:
    """Also where so much was trimmed that the length of the stream tells nothing."""
    world = World([attrs.evolve(DONE, length=5_000)], ProducerCounts(accepted=10_000, lost=1, lost_events=7))
    assert world.end().endswith(", 7 lost")


def make_screen(width: int = 80) -> tuple[Screen, Clock, Callable[[], str]]:
    out, clock = io.StringIO(), Clock()
    screen = Screen(make_console(out, coloured=False, width=width), clock)
    return screen, clock, out.getvalue


def test_the_screen_shows_figures_and_the_last_events() -> None:
    screen, clock, said = make_screen()
    world = World([DONE], clock=clock)
    problem = [""]
    screen.startService()
    screen.show(world.account, lambda: problem[0])
    world.account.startService()
    for number in range(10):
        screen.take_events(memoryview(f"event {number}\n".encode()))
    world.produced.accepted, world.consumed.handled = 20, 20
    clock.advance(0.25)
    world.produced.accepted, world.consumed.handled = 30, 40
    clock.advance(0.25)
    picture = said().splitlines()[-7:]
    assert "in 30 40/s  out 40 80/s  behind 0 s  dead 0  ● redis connected" in picture[0]
    assert [line.strip()[-7:] for line in picture[1:]] == [f"event {number}" for number in range(4, 10)]
    assert "First event handled 0.25 s after start ✓" in said()
    problem[0] = "no connection"
    clock.advance(0.25)
    assert "✗ redis: no connection" in said()
    screen.stopService()
    assert said().splitlines()[-1].endswith("30 in, 40 out (10 again or from before), 20 lost")


def test_nothing_on_the_screen_is_wider_than_it() -> None:
    screen, clock, said = make_screen(width=40)
    screen.startService()
    screen.show(World([DONE], clock=clock).account, lambda: "x" * 100)
    screen.take_events(memoryview(("event " + "y" * 100 + "\n").encode()))
    clock.advance(0.25)
    lines = [line for line in said().replace("\x1b", "\n\x1b").splitlines() if "y" in line or "in " in line]
    assert lines
    assert all(len(line.rpartition("K")[2]) <= 40 for line in lines)
    screen.stopService()


def test_a_terminal_that_became_narrower_has_more_rows_to_erase() -> None:
    """It wraps what was drawn; the last rows of that would stay as if they were news."""
    screen, clock, said = make_screen(width=80)
    screen.startService()
    screen.show(World([DONE], clock=clock).account, lambda: "")
    screen.take_events(memoryview(("event " + "y" * 100 + "\n").encode()))

    def count_erased(width: int, write: Callable[[], object]) -> int:
        screen.console.width = width
        before = len(said())
        write()
        return said()[before:].count("\x1b[1A\x1b[2K")

    def draw() -> None:
        clock.advance(0.25)

    draw()
    assert count_erased(80, draw) == 2  # figures, the event and an empty line, on the last of which the cursor is
    assert count_erased(30, draw) == 2 + 1 + 2  # 62 and 80 columns
    assert count_erased(30, draw) == 2
    assert count_erased(80, draw) == 2
    assert count_erased(30, lambda: screen.say("aside")) == 5
    assert count_erased(30, draw) == 2
    screen.stopService()


def test_what_is_said_is_above_the_picture() -> None:
    screen, clock, said = make_screen()
    screen.startService()
    screen.take_log(memoryview(b"\x1b[33mwarn\x1b[0m full\n"))
    clock.advance(0.25)
    lines = said().splitlines()
    assert any("warn full" in line for line in lines[:-1])
    assert lines[-1].endswith("starting")
    screen.stopService()


class Caller(Protocol):
    """Collects what comes, and when the connection ends."""

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        heard, self.heard = self.heard, Deferred()
        heard.callback(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)


@pytest_twisted.ensureDeferred
async def test_a_link_is_cut_stalled_and_refused_and_heals() -> None:
    echo: Any = cast(Any, reactor).listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    link = FaultyLink(reactor, stable_port(), echo.getHost().port)
    link.startService()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", link.port)

    async def call() -> Caller:
        caller: Caller = await connectProtocol(endpoint, Caller())
        heard = caller.heard
        cast(Any, caller.transport).write(b"hello")
        assert await heard == b"hello"
        return caller

    try:
        first = await call()
        link.cut()
        await first.ended
        second = await call()
        link.stall()
        heard = second.heard
        cast(Any, second.transport).write(b"later")
        third = await call()  # new connections are as before
        assert not heard.called
        link.accept()
        assert await heard == b"later"
        await link.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connectProtocol(endpoint, Caller())
        link.accept()
        fourth = await call()
        await link.stopService()
        for caller in (second, third, fourth):
            await caller.ended
    finally:
        await link.stopService()
        await echo.stopListening()


@attrs.define
class RecordedLink:
    """Records what is done to a link."""

    done: list[str] = attrs.field(factory=list)

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.done.append(name)


def test_each_fault_is_told_and_mended() -> None:
    clock, link, told = Clock(), RecordedLink(), list[str]()
    faults = Faults(link, clock, random.Random(7), told.append)  # type: ignore[arg-type]
    faults.startService()
    clock.pump([0.5] * 400)
    assert {"cut", "stall", "refuse", "accept"} == set(link.done)
    breaks = [name for name in link.done if name in ("stall", "refuse")]
    assert 0 <= len(breaks) - link.done.count("accept") <= 1
    assert len([words for words in told if words.startswith("fault: ")]) >= 15
    faults.stopService()
    assert link.done[-1] == "accept"
    assert clock.getDelayedCalls() == []
