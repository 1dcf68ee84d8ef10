"""
Tests for L{eventsvc.consumer.name_hold} and L{eventsvc.tap.consumer_name}: two
processes never use one name without an alarm.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.consumer.name_hold import NameHold
from eventsvc.tap.consumer_name import take_name
from eventsvc.testing import Link, MemoryEventGroup, MemoryStream
from eventsvc.testing.clock import run_clock
from tests.support.processes import Server, Service, Services
from tests.support.readers import add
from tests.unit.test_health import figure

HOST = socket.gethostname()


class Names:
    """Processes that hold the name of one consumer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stream = MemoryStream(self.clock)

    def process(self, token: str, consumer: str = "consumer") -> NameHold:
        return NameHold(MemoryEventGroup(self.stream, Link(self.clock), consumer=consumer), self.clock, token, 15.0)

    def run(self, *holds: NameHold, looks: int = 10) -> list[bool]:
        """Let them check every two seconds, and return those that report the name in use."""
        for _ in range(looks):
            for hold in holds:
                ensureDeferred(hold.check())
            run_clock(self.clock, 2.0)
        return [hold.in_use for hold in holds]


@pytest.fixture
def names() -> Names:
    made = Names()
    ensureDeferred(made.process("nobody").group.open())
    run_clock(made.clock, 1.0)
    return made


def test_two_processes_of_one_name_are_noticed(names: Names) -> None:
    """The second process reports it once, within a few checks, and its end."""
    first, second, other = names.process("1"), names.process("2"), names.process("3", "other")
    names.run(first, other)
    with capturedLogs() as logs:
        assert names.run(first, second, other, looks=4) == [False, True, False]
        assert names.run(first, second, other) == [False, True, False]
    assert [event["details"] for event in logs] == [{"alarm": "consumer_name_in_use"}]
    assert names.run(second) == [False]
    assert names.run(first, second) == [True, False]


def test_a_name_that_was_left_behind_is_no_clash(names: Names) -> None:
    """A killed process held it until just now."""
    names.run(names.process("killed"))
    with capturedLogs() as logs:
        assert names.run(names.process("next")) == [False]
    assert not logs


def names_in(server: Server, group: str) -> set[str]:
    """Return the consumers of the group that have pending entries."""
    with server.client() as client:
        return {row["name"].decode() for row in client.xinfo_consumers("NotificationStream", group) if row["pending"]}


def start(services: Services, server: Server, handler: str, *flags: str) -> Service:
    return services.start(
        *("eventsvc", "consumer", "--redis-port", f"{server.port}", "--redis-claim-idle", "3600"),
        *("--handler", f"tests.support.slow_handlers.{handler}", *flags),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_processes_without_a_name_have_one_each_and_find_it_again(services: Services, server: Server) -> None:
    """However they ended: entries in flight are read again at once, not after an hour of idle time."""
    group = f"group-{server.port}"  # consumers of other tests have names in the usual one
    flags = ("--redis-consumer-group", group)
    with server.client() as client:
        client.xgroup_create("NotificationStream", group, "0", mkstream=True)
        add(client, 0, 2)
        first = start(services, server, "hang", *flags)
        wait_until(lambda: names_in(server, group) == {f"{HOST}-0"})
        add(client, 2, 2)
        start(services, server, "hang", *flags)
        wait_until(lambda: names_in(server, group) == {f"{HOST}-0", f"{HOST}-1"})
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        start(services, server, "accept", *flags)
        wait_until(lambda: names_in(server, group) == {f"{HOST}-1"})


def test_each_group_of_each_stream_has_names_of_its_own() -> None:
    """They belong to this process as long as it lives."""
    a, b = f"a-{os.getpid()}", f"b-{os.getpid()}"  # names are those of the whole machine, with other runs of tests
    taken = Counter(take_name(stream, group) for stream in (a, b) for group in ("a", "b"))
    assert taken == {f"{HOST}-0": 4}
    assert [take_name(a, "a"), take_name(a, "a"), take_name(b, "b")] == [f"{HOST}-1", f"{HOST}-2", f"{HOST}-1"]


def test_without_abstract_sockets_a_name_is_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with a restart."""
    monkeypatch.setattr(sys, "platform", "darwin")
    names = [take_name("a", "a") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(name.startswith(f"{HOST}-") for name in names)


def test_a_name_given_twice_is_told(services: Services, server: Server) -> None:
    """In the log and the metrics of the second process."""
    ports = [stable_port(), stable_port()]
    flags = ("--redis-consumer", "same", "--redis-read-timeout", "0.1")
    first, second = [start(services, server, "accept", *flags, "--admin-port", f"{port}") for port in ports]
    wait_until(lambda: first.says("consumer_name_in_use") or second.says("consumer_name_in_use"))
    wait_until(lambda: sum(figure(port, "eventsvc_consumer_name_in_use") for port in ports) == 1.0)
