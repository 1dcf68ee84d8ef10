"""
Consumers that stop in order leave their group, and never with something pending.
"""

from __future__ import annotations

import signal

import pytest
import pytest_twisted

from chaos.suites import wait_until
from tests.support.backends import Backend
from tests.support.processes import Server, Services
from tests.unit.test_group import add, opened
from tests.unit.test_handling import GROUP, STREAM, handled, start_consumer
from tests.unit.test_handling import add as add_events


@pytest_twisted.ensureDeferred
async def test_a_consumer_leaves_that_has_nothing_pending(backend: Backend) -> None:
    """Whoever else holds its name keeps it."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    [id] = add(backend, "a")
    await backend.wait(group.read(1, 0.0))
    await backend.wait(other.read(1, 0.0))
    assert not await backend.wait(group.leave("one"))
    assert list(backend.pending()) == [id]
    await backend.wait(group.acknowledge([id]))
    await backend.wait(group.hold_name("one", 60.0))
    assert not await backend.wait(group.leave("two"))
    assert await backend.wait(group.leave("one"))
    assert await backend.wait(other.remove_stale(0.0)) == []
    assert await backend.wait(group.leave("one"))
    await backend.wait(group.acknowledge([id]))
    while await backend.wait(group.hold_name("two", 60.0)):
        pass


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_waits_while_its_name_leaves_loses_nothing(backend: Backend) -> None:
    """Another process of that name may have begun to read."""
    old, new = await opened(backend), await opened(backend)
    reading = new.read(1, 5.0)
    await backend.wait(old.leave("old"))
    [id] = add(backend, "a")
    assert [entry.id for entry in await backend.wait(reading)] == [id]
    assert backend.pending()[id][0] == "consumer"
    assert [entry.id for entry in await backend.wait(new.read_pending("", 1))] == [id]


def names(server: Server) -> set[str]:
    """The consumers of the group."""
    with server.client() as client:
        return {row["name"].decode() for row in client.xinfo_consumers(STREAM, GROUP)}


def test_a_consumer_that_stops_leaves_its_group(services: Services, each_server: Server) -> None:
    add_events(each_server, 3)
    consumer = start_consumer(services, each_server, "one")
    wait_until(lambda: len(handled(consumer)) == 3)
    assert names(each_server) == {"one"}
    assert consumer.stop() == 0
    assert names(each_server) == set()
    with each_server.client() as client:
        assert not list(client.scan_iter("*owner*"))


def test_a_consumer_that_hands_over_stays_until_another_has_claimed(services: Services, server: Server) -> None:
    add_events(server, 3)
    flags = "--handler=tests.support.slow_handlers.hang", "--drain-timeout=0.1"
    consumer = start_consumer(services, server, "one", *flags)
    wait_until(lambda: names(server) == {"one"})
    assert consumer.stop() == 0
    other = start_consumer(services, server, "other")
    wait_until(lambda: len(handled(other)) == 3)
    assert other.stop() == 0
    assert names(server) <= {"one"}


@pytest.mark.parametrize("right", ["-xgroup", "-get"])
def test_a_consumer_that_may_not_leave_stops_as_well(services: Services, each_server: Server, right: str) -> None:
    add_events(each_server, 3)
    with each_server.client() as client:
        client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all", right)
    flags = "--redis-username=worker", "--redis-password=secret"
    consumer = start_consumer(services, each_server, "one", *flags)
    wait_until(lambda: len(handled(consumer)) == 3)
    assert consumer.stop() == 0
    [line] = [line for line in consumer.lines() if "cannot leave the group" in line["message"]]
    assert line["level"] == "info"


def test_a_consumer_whose_name_another_process_holds_does_not_leave(services: Services, server: Server) -> None:
    add_events(server, 3)
    first = start_consumer(services, server, "one")
    wait_until(lambda: len(handled(first)) == 3)
    with server.client() as client:
        wait_until(lambda: list(client.scan_iter("*owner*")))
        second = start_consumer(services, server, "one")
        wait_until(lambda: second.says("connected to Redis"))
        assert second.stop() == 0
        assert names(server) == {"one"}
    assert first.stop(signal.SIGTERM) == 0
    assert names(server) == set()
