"""
Tests for how real processes start, log and end, and that they leave nothing
behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD, Notification, decode_notification
from tests.support.processes import Server, Service, Services, get, post

EVENT = '{"description": "hello"}'
STREAM = "NotificationStream"
SIGNALS = [signal.SIGTERM, signal.SIGINT]


def problems(service: Service) -> list[object]:
    """Return the error lines of its log, and its other output about errors."""
    found: list[object] = [line for line in service.lines() if line["level"] in ("error", "critical")]
    return found + [line for line in service.err().splitlines() if "Traceback" in line or "Error" in line]


def start_producer(services: Services, server: Server, *flags: str) -> Service:
    return services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}", *flags)


def start_consumer(services: Services, server: Server, *flags: str) -> Service:
    return services.start("eventsvc", "consumer", f"--redis-port={server.port}", *flags)


def start_simulator(services: Services, port: int, *flags: str) -> Service:
    return services.start("eventsvc", "simulator", f"--event-producer-port={port}", *flags)


def start_dev(services: Services, *flags: str) -> Service:
    return services.start("eventsvc", "dev", "--rest-server-port=0", "--dashboard-port=0", *flags)


def server_port(dev: Service) -> int:
    """Wait for the port of the embedded server in the log, and return it."""
    wait_until(lambda: dev.says("curl -i"))
    return int(re.findall(r"redis://127.0.0.1:(\d+)", dev.err())[0])


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether a process listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30.0)


def summary(service: Service) -> dict[str, int]:
    """Return the summary of a simulator."""
    (line,) = [line for line in service.lines() if line["message"].startswith("summary: ")]
    return line


def read_events(client: Any) -> list[Notification]:
    """Return the events in the stream."""
    return [decode_notification(fields[EVENT_FIELD]) for _, fields in client.xrange(STREAM) if EVENT_FIELD in fields]


# How they end


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_each_idle_service_with_0(services: Services, number: int) -> None:
    """SIGTERM and SIGINT are not failures, even without Redis."""
    ports = [stable_port() for _ in range(3)]
    flags = [f"--admin-port={port}" for port in ports]
    started = [
        start_producer(services, Server(), flags[0]),
        start_consumer(services, Server(), flags[1]),
        start_simulator(services, stable_port(), flags[2]),
    ]
    # What answers has its handlers of signals: a log line may come before them.
    wait_until(lambda: all(get(port, "/health/live")[0] for port in ports))
    for service in started:
        service.process.send_signal(number)
    assert [service.process.wait(30.0) for service in started] == [0] * len(started)
    assert [problems(service) for service in started] == [[]] * len(started)


EARLY = """
import os, signal
from twisted.application.service import Application, Service
from twisted.internet import reactor
from eventsvc.settings import LogSettings
from eventsvc.telemetry.logs import make_log
from eventsvc.tap.process import Process

class Early(Service):
    def startService(self):
        os.kill(os.getpid(), {number:d})

application = Application("early")
process = Process(reactor, make_log(LogSettings()))
process.setServiceParent(application)
Early().setServiceParent(process)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_while_it_starts_ends_it_with_0(services: Services, tmp_path: Path, number: int) -> None:
    """A signal is not lost while a service starts."""
    (tmp_path / "early.tac").write_text(EARLY.format(number=number))
    service = services.start("--python=early.tac", "--pidfile=")
    assert service.process.wait(30.0) == 0
    assert problems(service) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_each_service_under_load_with_0(services: Services, server: Server, number: int) -> None:
    """Under load too, and what was answered 200 before and while it ended is in the stream exactly once."""
    producer = start_producer(services, server)
    consumer = start_consumer(services, server)
    simulator = start_simulator(services, producer.port(), "--events-per-second=300")
    wait_until(lambda: consumer.says('"message":"event"'))
    assert [service.stop(number) for service in (consumer, producer, simulator)] == [0, 0, 0]
    tally = summary(simulator)
    with server.client() as client:
        stored = read_events(client)
    assert len({event.id for event in stored}) == len(stored)
    assert tally["ok"] <= len(stored) <= tally["ok"] + tally["unknown"]
    assert [problems(service) for service in (consumer, producer, simulator)] == [[], [], []]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_request_in_progress_is_answered_at_the_end(services: Services, server: Server, number: int) -> None:
    """
    On a signal a producer accepts no more connections and closes idle ones.  A
    request in progress is answered, and its connection is closed.  A second
    signal changes nothing.
    """
    producer = start_producer(services, server)
    port = producer.port()
    assert post(port, EVENT).status == 200
    with connect(port) as idle, connect(port) as busy:
        busy.sendall(
            b"POST /event HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(EVENT)
        )
        assert busy.recv(100).startswith(b"HTTP/1.1 100 ")
        producer.process.send_signal(number)
        assert idle.recv(1) == b""
        assert not is_open(port)
        producer.process.send_signal(number)
        busy.sendall(EVENT.encode())
        answer = busy.makefile().read()
    assert answer.startswith("HTTP/1.1 200 ")
    assert "\nConnection: close\n" in answer
    assert producer.process.wait(30.0) == 0
    assert problems(producer) == []
    with server.client() as client:
        assert len(read_events(client)) == 2


PRODUCERS = "--rest-server-port (REST_SERVER_PORT) or --rest-server-host (REST_SERVER_HOST)"


@pytest.mark.parametrize(
    ("role", "flag", "address", "remedy"),
    [
        ("producer", "--rest-server-port", "0.0.0.0", PRODUCERS),
        ("dev", "--rest-server-port", "127.0.0.1", PRODUCERS),
        ("consumer", "--admin-port", "0.0.0.0", "--admin-port (ADMIN_PORT)"),
        ("simulator", "--admin-port", "0.0.0.0", "--admin-port (ADMIN_PORT)"),
    ],
)
def test_a_taken_port_ends_it_with_1(services: Services, role: str, flag: str, address: str, remedy: str) -> None:
    """
    If another process listens on the port, a message names it and the setting
    for another one, before anything is started.
    """
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        service = services.start("eventsvc", role, f"{flag}={port}")
        assert service.process.wait(30.0) == 1
    problem = f"cannot listen on {address}:{port}: Address already in use"
    assert service.err() == f"eventsvc: {problem}; choose another with {remedy}\n"
    assert problems(service) == []
    assert "Connection" not in service.out()


def test_a_crash_ends_it_with_1(services: Services) -> None:
    """What cannot go on ends with 1, and a sentence that says why."""
    dev = start_dev(services, "--redis-write-timeout=0.3")
    with Server(port=server_port(dev)).client() as client:
        client.shutdown(nosave=True)
    assert dev.process.wait(30.0) == 1
    (problem,) = problems(dev)
    assert "the embedded server ended unexpectedly" in str(problem)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["eventsvc"], {}, "No role is named; the roles are producer, consumer, simulator, dashboard, dev"),
        (["consumer", "--colour"], {}, "option --colour not recognized; see --help"),
        (["eventsvc", "producer"], {"REDIS_PORT": "x"}, "REDIS_PORT='x': expected a port number from 1 to 65535"),
        (
            ["consumer", "--redis-tls=on"],
            {"REDIS_TLS_CA": "/dev/null"},
            "REDIS_TLS_CA='/dev/null': expected a file of PEM certificates, but it contains none",
        ),
    ],
)
def test_bad_usage_ends_it_with_2(
    services: Services, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    """An invalid command line or setting exits with 2, and one line that names the error."""
    service = services.start(*arguments, environment=environment)
    assert service.process.wait(30.0) == 2
    assert (service.out(), service.err()) == ("", f"eventsvc: {words}\n")


# What they leave behind


def test_two_services_share_a_directory_and_write_nothing_there(
    services: Services, server: Server, tmp_path: Path
) -> None:
    """With C{-n} there is no pid file, so services can share a directory, even a read-only one."""
    directory = tmp_path / "empty"
    directory.mkdir(mode=0o555)
    started = [
        services.start(
            f"--rundir={directory}", "eventsvc", "consumer", f"--redis-port={server.port}", f"--redis-consumer={name}"
        )
        for name in ("one", "two")
    ]
    wait_until(lambda: all(service.says("connected to Redis") for service in started))
    assert [service.stop() for service in started] == [0, 0]
    assert list(directory.iterdir()) == []


def test_a_read_only_directory_is_no_hindrance(services: Services, server: Server) -> None:
    """Even root cannot write to C{/proc}; the services run there."""
    consumer = services.start("--rundir=/proc", "eventsvc", "consumer", f"--redis-port={server.port}")
    wait_until(lambda: consumer.says("connected to Redis"))
    assert consumer.stop() == 0
    assert problems(consumer) == []


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGKILL])
def test_dev_leaves_nothing_behind(services: Services, number: int) -> None:
    """
    However it ends, its server ends with it; after Ctrl-C and SIGTERM in good
    order: a signal to the whole process group does not reach the server.
    """
    dev = start_dev(services, "--events-per-second=20")
    port = server_port(dev)
    wait_until(lambda: is_open(port))
    wait_until(lambda: dev.says('"message":"event"'))
    with Server(port=port).client() as client:
        assert os.getpgid(client.info("server")["process_id"]) != dev.process.pid
    os.killpg(dev.process.pid, number)  # as Ctrl-C does
    assert dev.process.wait(30.0) == (-number if number == signal.SIGKILL else 0)
    wait_until(lambda: not is_open(port))
    assert problems(dev) == []
    if number != signal.SIGKILL:
        assert summary(dev)["refused"] == summary(dev)["unknown"] == 0


# What they say


@pytest.mark.parametrize("flags", [["--count=30"], ["--duration=0.5"]])
def test_dev_ends_by_itself(services: Services, flags: list[str]) -> None:
    """With a count or a duration it exits with 0 and a summary; every posted event is stored."""
    dev = start_dev(services, "--events-per-second=100", *flags)
    assert dev.process.wait(30.0) == 0
    tally = summary(dev)
    assert tally["sent"] == tally["ok"] > 0
    assert problems(dev) == []


@pytest.mark.parametrize(
    ("role", "flags", "everywhere"),
    [
        ("producer", [], True),
        ("producer", ["--rest-server-host=127.0.0.1"], False),
        ("dev", ["--dashboard-port=0"], False),
        ("dev", ["--rest-server-host=0.0.0.0", "--dashboard-port=0"], True),
    ],
)
def test_it_listens_where_it_is_told(services: Services, role: str, flags: list[str], everywhere: bool) -> None:
    """A producer listens on all addresses by default; the role C{dev} only on loopback."""
    port = services.start("eventsvc", role, "--rest-server-port=0", *flags).port()
    assert is_open(port)
    assert is_open(port, "127.0.0.2") is everywhere


@pytest.mark.parametrize(("address", "told"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1")])
def test_dev_posts_to_where_it_listens(services: Services, address: str, told: str) -> None:
    """It reaches its own producer on any address, and prints one that works."""
    dev = start_dev(services, f"--rest-server-host={address}", "--events-per-second=100", "--count=3")
    assert dev.process.wait(30.0) == 0
    assert summary(dev)["ok"] == 3
    assert f"' http://{told}:" in dev.err()


def test_dev_says_how_to_try_it(services: Services) -> None:
    """The address it prints is the one it listens on."""
    dev = start_dev(services)
    server_port(dev)
    (port,) = re.findall(r"curl -i --data '{\"description\": \"hello world\"}' http://127.0.0.1:(\d+)/event", dev.err())
    assert int(port) == dev.port()
    assert post(int(port), '{"description": "hello world"}').status == 200
    wait_until(lambda: dev.says('"description":"hello world"'))
    assert dev.stop() == 0


def test_help_is_no_failure(services: Services) -> None:
    """C{--help} ends with 0."""
    service = services.start("eventsvc", "consumer", "--help")
    assert service.process.wait(30.0) == 0
    assert service.out().startswith("Usage: twistd [options] eventsvc consumer [options]\n")
    assert service.err() == ""


@pytest.mark.parametrize("right", [True, False])
def test_secrets_are_not_told(services: Services, tmp_path: Path, right: bool) -> None:
    """A password is in no line of the log, whether or not the server accepts it."""
    password = "open-sesame"
    server = Server(options=("--requirepass", password if right else "other"), password=password if right else "other")
    (tmp_path / "password").write_text(password + "\n")
    server.start()
    try:
        debug = f"--redis-port={server.port}", "--log-level=debug"
        producer = services.start(
            *("eventsvc", "producer", *debug, "--rest-server-port=0", f"--redis-write-timeout={30 if right else 0.3}"),
            environment={"REDIS_PASSWORD": password},
        )
        consumer = services.start(
            *("eventsvc", "consumer", *debug), environment={"REDIS_PASSWORD_FILE": str(tmp_path / "password")}
        )
        words = "connected to Redis" if right else "WRONGPASS"
        wait_until(lambda: producer.says(words) and consumer.says(words))
        assert post(producer.port(), EVENT).status == (200 if right else 503)
        assert [service.stop() for service in (producer, consumer)] == [0, 0]
    finally:
        server.end()
    for service in (producer, consumer):
        assert service.lines()
        assert password not in service.out() + service.err()


def test_a_producer_outlives_its_server(services: Services) -> None:
    """
    Without a server it starts and answers 503 in time; it recovers by itself once there is one.

    An event that is sent just before its deadline is unknown, and may be stored.
    """
    server = Server()
    producer = start_producer(services, server, "--redis-write-timeout=0.3", "--redis-retry-period=0.1")
    answer = post(producer.port(), EVENT)
    assert answer.status == 503
    assert json.loads(answer.body)["stored"] == "no"
    server.start()
    try:
        answers = [answer]

        def is_taken() -> bool:
            answers.append(post(producer.port(), EVENT))
            return answers[-1].status == 200

        wait_until(is_taken)
        unknown = sum('"unknown"' in each.body for each in answers)
        with server.client() as client:
            assert 1 <= len(read_events(client)) <= 1 + unknown
        assert producer.stop() == 0
    finally:
        server.end()
