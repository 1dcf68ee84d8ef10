"""
Tests for L{eventsvc.tap.health} and L{eventsvc.web.health}: on a fake clock, and
over HTTP from real processes.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.interfaces import Unknown
from eventsvc.producer.room import Room
from eventsvc.tap.health import Rounds, Vitals, producer_health
from eventsvc.web.health import Health
from tests.support.consumer_world import ConsumerWorld
from tests.support.processes import Server, Service, Services, get, running_server
from tests.support.producer_world import ProducerWorld, make_world
from tests.unit.test_consumer import crash, link_of


@attrs.define
class Connection:
    """A fake connection for health checks."""

    ready: bool = True
    checks: int = 0
    problem: str = ""

    def check(self) -> Deferred[object]:
        self.checks += 1
        return fail(Unknown("no reply"))


@pytest.fixture
def world() -> Iterator[ProducerWorld]:
    made = make_world(queue_events=10)
    yield made
    made.appender.stop()
    made.run(10.0)


def make_health(world: ProducerWorld, connection: Connection, is_full: bool = False) -> tuple[Vitals, Health]:
    """Return the health of a producer with a heartbeat."""
    vitals = Vitals(world.clock)
    room = Room(cast(Any, None), world.clock, lambda: 0)
    room.is_full = is_full
    health = producer_health(vitals, [world.appender], cast(Any, connection), room)
    vitals.startService()
    return vitals, health


def told(health: Health) -> tuple[int, int, dict[str, Any]]:
    """Return the status of both routes, and the text of the second."""
    live, ready = health.live(), health.ready()
    return live.status, ready.status, json.loads(ready.body)


def test_a_producer_is_live_without_redis_but_not_ready(world: ProducerWorld) -> None:
    """A restart would not bring Redis back, but sending it events is pointless."""
    connection = Connection()
    vitals, health = make_health(world, connection)
    assert told(health) == (200, 200, {"status": "ready"})
    connection.ready = False
    world.run(100.0)
    problem = {"status": 503, "title": "Not ready", "description": "Redis cannot be reached"}
    assert told(health) == (200, 503, problem)
    connection.problem = "Connection refused"
    assert told(health) == (200, 503, problem | {"description": "Redis cannot be reached: Connection refused"})
    vitals.stopService()


def test_a_producer_is_not_ready_while_its_queue_is_nearly_full(world: ProducerWorld) -> None:
    """Other producers may have room, so it gets no traffic until its queue shrinks."""
    vitals, health = make_health(world, Connection())
    world.link.disconnect()
    world.run(0.1)
    world.post("head")  # the appender wakes up, and waits for Redis with the queue as it is
    for number in range(8):
        world.post(f"{number}")
    assert told(health)[1] == 200
    world.post("last")
    assert told(health)[1] == 503
    assert told(health)[2]["description"] == "The queue of events that wait for Redis is full"
    full, healthy = make_health(world, Connection(), is_full=True)
    assert told(healthy)[1] == 200  # no other producer could do better, and clients are told why
    full.stopService()
    vitals.stopService()


def test_a_producer_whose_appender_has_ended_is_dead(world: ProducerWorld) -> None:
    """It would accept events and store none."""
    vitals, health = make_health(world, Connection())
    world.appender.stop()
    assert told(health)[0] == 503
    assert json.loads(health.live().body)["title"] == "Not live"
    vitals.stopService()
    world.appender.start()


def test_a_process_whose_heart_stopped_is_dead(world: ProducerWorld) -> None:
    """The limit is ten seconds without a beat."""
    vitals, health = make_health(world, Connection())
    vitals.stopService()
    world.run(9.0)
    assert told(health)[0] == 200
    world.run(2.0)
    assert told(health)[0] == 503


def test_an_idle_connection_is_probed_each_second(world: ProducerWorld) -> None:
    """A dead one is detected without traffic; errors of the probe are ignored."""
    connection = Connection()
    vitals, _ = make_health(world, connection)
    world.run(3.0)
    assert connection.checks == 4
    connection.ready = False
    world.run(3.0)
    assert connection.checks == 4
    vitals.stopService()


def test_a_consumer_is_live_as_long_as_its_loop_comes_round(consuming: ConsumerWorld) -> None:
    """Both when idle and with a slow handler."""
    hanging: Deferred[None] = Deferred()
    consumer = consuming.consumer(lambda _: hanging)
    rounds = Rounds(consumer, cast(Any, Connection()), consuming.clock, within=20.0)
    for _ in range(10):
        consuming.run(10.0)
        assert rounds.is_alive
    consuming.add("a", "b", "c")
    for _ in range(10):
        consuming.run(10.0)
        assert rounds.is_alive
    hanging.callback(None)


def test_a_consumer_that_takes_up_slowly_what_was_left_is_live(consuming: ConsumerWorld) -> None:
    """It has a reason not to have finished its first round."""
    before = consuming.consumer(lambda _: Deferred(), concurrency=3)
    consuming.add("a", "b", "c")
    consuming.run(1.0)
    assert len(consuming.pending) == 3
    crash(before, consuming)
    hanging: Deferred[None] = Deferred()
    after = consuming.consumer(lambda _: hanging)
    rounds = Rounds(after, cast(Any, Connection()), consuming.clock, within=20.0)
    for _ in range(10):
        consuming.run(10.0)
        assert rounds.is_alive
    assert len(after.in_flight.entries) == 1
    hanging.callback(None)


def test_a_consumer_whose_loop_stands_still_is_dead(consuming: ConsumerWorld) -> None:
    """Not at once, because a round may be slow."""
    consumer = consuming.consumer()
    rounds = Rounds(consumer, cast(Any, Connection()), consuming.clock, within=20.0)
    consuming.run(1.0)
    assert consumer._running is not None
    consumer._running.cancel()
    consuming.run(15.0)
    assert rounds.is_alive
    consuming.run(10.0)
    assert not rounds.is_alive


def test_a_consumer_that_waits_for_redis_is_live(consuming: ConsumerWorld) -> None:
    """It gets the full time again once Redis is back."""
    connection = Connection()
    consumer = consuming.consumer()
    rounds = Rounds(consumer, cast(Any, connection), consuming.clock, within=20.0)
    vitals = Vitals(consuming.clock, on_beat=[rounds.observe])
    vitals.startService()
    consuming.run(1.0)
    link_of(consumer).disconnect()
    connection.ready = False
    consuming.run(300.0)
    assert rounds.is_alive
    connection.ready = True
    consuming.run(5.0)
    assert rounds.is_alive
    link_of(consumer).connect()
    consuming.run(30.0)
    assert rounds.is_alive
    vitals.stopService()


def figure(port: int, name: str) -> float:
    """Return a scraped metric, with its labels or the only one of its name; -1 if it is not known yet."""
    lines = [line.rsplit(" ", 1) for line in get(port, "/metrics")[1].splitlines()]
    found = [value for label, value in lines if name in (label, label.partition("{")[0])]
    return float(found[0]) if found else -1.0


def is_ready(port: int, status: int) -> Callable[[], bool]:
    """Return whether C{/health/ready} has a status."""
    return lambda: get(port, "/health/ready")[0] == status


def start(services: Services, role: str, flag: str, redis: int) -> tuple[Service, int]:
    """Start a role with an admin port."""
    port = stable_port()
    return services.start("eventsvc", role, flag, f"{port}", "--redis-port", f"{redis}"), port


def test_real_services_tell_of_their_health(services: Services) -> None:
    """The producer on its own port, the consumer on its admin port, with Redis frozen and resumed."""
    with running_server() as server:
        _, producer = start(services, "producer", "--rest-server-port", server.port)
        _, consumer = start(services, "consumer", "--admin-port", server.port)
        for port in (producer, consumer):
            wait_until(is_ready(port, 200))
            assert get(port, "/health/live") == (200, '{"status":"live"}')
        assert post_one(producer) == 200
        assert figure(producer, 'eventsvc_events_accepted_total{stream="NotificationStream"}') == 1
        wait_until(lambda: figure(consumer, 'eventsvc_consumed_total{outcome="handled"}') == 1)
        wait_until(lambda: figure(consumer, "eventsvc_stream_entries") >= 1)

        server.send(signal.SIGSTOP)
        for port in (producer, consumer):
            wait_until(is_ready(port, 503))
            assert json.loads(get(port, "/health/ready")[1])["description"].startswith("Redis cannot be reached: no ")
            assert get(port, "/health/live")[0] == 200
        server.send(signal.SIGCONT)
        for port in (producer, consumer):
            wait_until(is_ready(port, 200))
        assert figure(producer, 'eventsvc_redis_reconnects_total{role="producer"}') >= 1


def test_a_consumer_that_may_not_read_is_live_but_not_ready(services: Services, each_server: Server) -> None:
    """Its user lacks the permission; the metrics of the stream are still there, and it recovers by itself."""
    with each_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-xreadgroup")
        _, port = start(services, "consumer", "--admin-port", each_server.port)
        wait_until(lambda: figure(port, 'eventsvc_consumer_refused_total{reason="NOPERM"}') >= 2)
        problem = json.loads(get(port, "/health/ready")[1])
        assert (problem["status"], problem["description"]) == (503, "The last round failed: NOPERM")
        assert get(port, "/health/live")[0] == 200
        wait_until(lambda: figure(port, "eventsvc_oldest_unread_seconds") >= 0)
        assert figure(port, "eventsvc_consumer_ready") == 0
        client.execute_command("ACL", "SETUSER", "default", "+xreadgroup")
        wait_until(is_ready(port, 200))


def post_one(port: int) -> int:
    """Post an event, and return the status of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("POST", "/event", b'{"description": "a"}')
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_simulator_has_an_admin_port_too(services: Services) -> None:
    """It is live and ready whatever happens to its events."""
    port, nobody = stable_port(), stable_port()
    services.start(
        *("eventsvc", "simulator", "--admin-port", f"{port}"),
        *("--event-producer-port", f"{nobody}", "--events-per-second", "50"),
    )
    wait_until(is_ready(port, 200))
    assert get(port, "/health/live")[0] == 200
    wait_until(lambda: figure(port, 'eventsvc_simulated_total{outcome="refused"}') >= 1)
    assert get(port, "/event")[0] == 404
