"""
Tests with real processes whose wall clock is set back by an hour: no wait may
depend on it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from chaos.clock import WallClock
from chaos.process import stable_port
from chaos.suites import PATIENCE, wait_until
from tests.support.processes import Server, Service, Services, post

EVENT = '{"description": "hello"}'
HOUR = 3_600.0


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """The wall clock of services started with its environment."""
    return WallClock(tmp_path / "clock")


def status(port: int, probe: str) -> int:
    """Return the status of a probe."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health/{probe}", timeout=5) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def is_well(port: int) -> Callable[[], bool]:
    """Return whether a service is live and ready."""
    return lambda: [status(port, probe) for probe in ("live", "ready")] == [200, 200]


def cut(server: Server) -> None:
    """End all connections to a server."""
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)


def connects(service: Service) -> int:
    """Return how often it has connected to Redis."""
    return service.out().count("connected to Redis")


def test_the_clock_of_a_process_can_be_stepped(services: Services, clock: WallClock) -> None:
    """Otherwise the tests below would prove nothing."""
    service = services.start("eventsvc", "producer", "--rest-server-port=0", environment=clock.environment)
    service.port()
    clock.step(-HOUR)
    service.stop()
    assert service.lines()[-1]["time"] < service.lines()[0]["time"]


def test_a_producer_goes_on_after_its_clock_was_set_back(
    services: Services, own_server: Server, clock: WallClock
) -> None:
    """It connects again, its deadlines fire, and its timestamps are those of the clock."""
    producer = services.start(
        *("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={own_server.port}"),
        *("--redis-write-timeout=4",),
        environment=clock.environment,
    )
    port = producer.port()
    wait_until(is_well(port))
    assert post(port, EVENT).status == 200
    clock.step(-HOUR)

    cut(own_server)
    wait_until(lambda: connects(producer) == 2)
    assert post(port, EVENT).status == 200

    own_server.send(signal.SIGSTOP)
    assert post(port, EVENT).status == 503  # or the test waits in vain for an answer
    wait_until(lambda: status(port, "ready") == 503)
    assert status(port, "live") == 200
    own_server.send(signal.SIGCONT)
    wait_until(is_well(port))
    assert post(port, EVENT).status == 200
    assert producer.stop() == 0


def test_a_consumer_goes_on_after_its_clock_was_set_back(
    services: Services, own_server: Server, clock: WallClock
) -> None:
    """It connects again, reads, and is alive and ready."""
    port = stable_port()
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={own_server.port}", f"--admin-port={port}"),
        environment=clock.environment,
    )
    wait_until(lambda: consumer.says("connected to Redis"))
    wait_until(is_well(port))
    clock.step(-HOUR)

    before = connects(consumer)
    own_server.send(signal.SIGSTOP)
    wait_until(lambda: status(port, "ready") == 503)  # a reply was waited for, in vain
    own_server.send(signal.SIGCONT)
    wait_until(lambda: connects(consumer) > before)
    with own_server.client() as client:
        client.xadd(
            "NotificationStream",
            {"EventStream": '{"id":1,"description":"after","timestamp":"2026-01-01T00:00:00.000000000Z"}'},
        )
        wait_until(lambda: consumer.says("after"))
        wait_until(lambda: client.xpending("NotificationStream", "demo_consumer_group")["pending"] == 0)
    wait_until(is_well(port))
    assert consumer.stop() == 0


def test_a_simulator_goes_on_after_its_clock_was_set_back(services: Services, server: Server, clock: WallClock) -> None:
    """It posts at its rate, as long as it was told to, and reports."""
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
    admin = stable_port()
    flags = [f"--event-producer-port={producer.port()}", "--events-per-second=50", f"--admin-port={admin}"]
    simulator = services.start("eventsvc", "simulator", *flags, "--duration=4", environment=clock.environment)
    wait_until(lambda: simulator.says("Site starting on"))
    clock.step(-HOUR)
    wait_until(is_well(admin))
    assert simulator.process.wait(30.0) == 0
    summary = next(line for line in simulator.lines() if line["message"].startswith("summary: "))
    assert summary["ok"] > 50


def test_the_command_for_people_gives_up_in_time_after_its_clock_was_set_back(clock: WallClock) -> None:
    """It waits for Redis for seconds, not for an hour."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from eventsvc.cli.main import main; main()",
            "dead",
            "list",
            f"--redis-port={stable_port()}",
        ],
        env={**os.environ, **clock.environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "Connection refused" in process.stderr.readline()
        clock.step(-HOUR)
        assert process.wait(PATIENCE) == 1
    finally:
        process.kill()
        process.communicate()


EARLY = """
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import LoopingCall

def later():
    Path("fired").touch()

def again():
    with Path("rounds").open("a") as file:
        print("round", file=file)

moved = reactor.callLater(3_600, later)
LoopingCall(again).start(0.05)

def handle(event):
    moved.reset(0.05)
"""


def test_a_timer_that_a_handler_sets_as_it_is_imported_fires(
    services: Services, server: Server, tmp_path: Path
) -> None:
    """It was set before the reactor's clock was replaced."""
    (tmp_path / "early.py").write_text(EARLY)
    fired, rounds = tmp_path / "fired", tmp_path / "rounds"
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", "--handler=early.handle"),
        environment={"PYTHONPATH": str(tmp_path)},
    )
    wait_until(lambda: len(rounds.read_text().splitlines()) > 2 if rounds.exists() else False)
    assert not fired.exists()
    with server.client() as client:
        client.xadd("NotificationStream", {"EventStream": '{"id":1,"description":"a","timestamp":""}'})
    wait_until(fired.exists)
    assert consumer.stop() == 0
