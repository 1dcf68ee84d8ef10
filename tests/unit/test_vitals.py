"""
Tests for L{eventsvc.tap.health}: the heartbeat of a process, and the health that
each role reports.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc import __version__
from eventsvc.interfaces import Refused, Unknown
from eventsvc.settings import AdminSettings
from eventsvc.tap.health import BEAT, Vitals, add_admin, consumer_health, probe, simulator_health
from eventsvc.testing.clock import run_clock
from eventsvc.web.health import Health
from tests.support.consumer_world import ConsumerWorld as ConsumerWorld


@attrs.define
class Connection:
    """A connection with a fixed answer to each check."""

    ready: bool = True
    answer: Callable[[], Deferred[Any]] = lambda: succeed(None)

    def check(self) -> Deferred[Any]:
        return self.answer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def is_live(health: Health) -> bool:
    return health.live().status == 200


def scraped(vitals: Vitals, name: str) -> list[str]:
    """Return the samples of a metric."""
    return [line for line in vitals.metrics.text().decode().splitlines() if line.startswith(name)]


def test_a_heart_that_beats_in_time_is_never_late(clock: Clock) -> None:
    """Not even at the first beat; a decreasing counter would look like a restart."""
    vitals = Vitals(clock)
    vitals.startService()
    assert vitals.late == 0.0
    run_clock(clock, 5 * BEAT)
    assert vitals.late == pytest.approx(0.0)
    clock.advance(3.5 * BEAT)  # the reactor was held up
    assert vitals.late == pytest.approx(2.5 * BEAT, abs=0.1)
    assert scraped(vitals, "eventsvc_reactor_late_seconds_total") == [
        f"eventsvc_reactor_late_seconds_total {vitals.late}"
    ]
    vitals.stopService()


def test_what_is_done_at_a_beat_does_not_stop_the_heart(clock: Clock) -> None:
    """Whatever it raises; the error is not swallowed."""

    def stumble() -> None:
        beats.append(clock.seconds())
        if len(beats) > 1:
            raise RuntimeError("no")

    beats: list[float] = []
    vitals = Vitals(clock, on_beat=[stumble])
    vitals.startService()
    for expected in (2, 3):
        with pytest.raises(RuntimeError):
            clock.advance(BEAT)
        assert len(beats) == expected
    assert vitals.is_alive
    vitals.stopService()


def test_a_heart_that_was_stopped_may_be_stopped_again(clock: Clock) -> None:
    """It can also be started again, and beats once a second as before."""
    beats: list[None] = []
    vitals = Vitals(clock, on_beat=[lambda: beats.append(None)])
    vitals.startService()
    vitals.stopService()
    vitals.stopService()
    assert clock.getDelayedCalls() == []
    vitals.startService()
    run_clock(clock, 2.5 * BEAT)
    assert len(beats) == 4
    vitals.stopService()


def test_the_version_is_told(clock: Clock) -> None:
    assert scraped(Vitals(clock), "eventsvc_info") == [f'eventsvc_info{{version="{__version__}"}} 1.0']


@pytest.mark.parametrize("error", [Refused("no"), Unknown("no reply")])
def test_a_probe_that_fails_as_probes_do_is_not_worth_a_line(error: Exception) -> None:
    """The connection logs its own end."""
    told: list[Deferred[Any]] = []
    connection = Connection(answer=lambda: told.append(fail(error)) or told[-1])  # type: ignore[func-returns-value]
    probe(cast(Any, connection))
    outcomes: list[object] = []
    told[0].addBoth(outcomes.append)
    assert outcomes == [None]


def test_a_probe_that_fails_in_an_unexpected_way_is_told() -> None:
    """The error is not swallowed."""
    with capturedLogs() as events:
        probe(cast(Any, Connection(answer=lambda: fail(ZeroDivisionError("half way")))))
        gc.collect()  # a Deferred tells of its failure when it goes
    told = [type(event["log_failure"].value) for event in events if "log_failure" in event]
    assert told == [ZeroDivisionError]


def test_a_simulator_lives_by_its_heart(clock: Clock) -> None:
    vitals = Vitals(clock)
    health = simulator_health(vitals)
    vitals.startService()
    assert is_live(health)
    vitals.stopService()
    clock.advance(11.0)
    assert not is_live(health)


def consumer_of(consuming: ConsumerWorld, connection: Connection) -> tuple[Any, Vitals, Health]:
    """Return a consumer with a heartbeat."""
    consumer = consuming.consumer()
    vitals = Vitals(consuming.clock)
    health = consumer_health(vitals, consumer, cast(Any, connection))
    vitals.startService()
    consuming.run(1.0)
    return consumer, vitals, health


def test_a_consumer_without_a_heartbeat_is_dead(consuming: ConsumerWorld) -> None:
    """Even while its rounds continue."""
    _, vitals, health = consumer_of(consuming, Connection())
    consuming.run(100.0)
    assert is_live(health)
    vitals.stopService()
    consuming.run(11.0)
    assert not is_live(health)


def test_a_consumer_whose_rounds_end_is_dead_after_the_longest_that_one_may_take(consuming: ConsumerWorld) -> None:
    """The limit is the longest read, plus the idle time, plus ten seconds."""
    consumer, vitals, health = consumer_of(consuming, Connection())
    consumer._running.cancel()
    longest = consumer.last_round + consumer.block + consumer.claim_idle + 10.0 - consuming.clock.seconds()
    consuming.run(longest - 0.5)
    assert is_live(health)
    consuming.run(1.0)
    assert not is_live(health)
    vitals.stopService()


def test_a_handler_may_take_as_long_to_start_as_a_round(consuming: ConsumerWorld) -> None:
    """Then the consumer is dead until it has started: one that hangs is to be restarted."""
    starting: Deferred[None] = Deferred()
    consumer = consuming.consumer(start=lambda: starting)
    vitals = Vitals(consuming.clock)
    health = consumer_health(vitals, consumer, cast(Any, Connection()))
    vitals.startService()
    longest = consumer.block + consumer.claim_idle + 10.0
    consuming.run(longest - 0.5)
    assert is_live(health)
    consuming.run(1.0)
    assert not is_live(health)
    starting.callback(None)
    consuming.run(1.0)
    assert is_live(health)
    vitals.stopService()


def test_a_consumer_has_its_time_after_redis_is_back_though_nobody_asked_meanwhile(consuming: ConsumerWorld) -> None:
    """The heartbeat has recorded that Redis was away."""
    connection = Connection()
    consumer, vitals, health = consumer_of(consuming, connection)
    consumer._running.cancel()
    connection.ready = False
    consuming.run(300.0)
    connection.ready = True
    consuming.run(5.0)
    assert is_live(health)
    vitals.stopService()


@pytest.mark.parametrize("port", [0, 8081])
def test_an_admin_port_is_there_only_if_it_is_set(clock: Clock, port: int) -> None:
    """0 means off, not any free port."""
    process = MultiService()
    add_admin(process, clock, AdminSettings(port=port), cast(Any, None))
    assert [part.port for part in cast(Any, process)] == ([port] if port else [])
