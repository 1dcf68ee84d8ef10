"""
Tests for a Redis whose memory is full: it is drained, and history never fills it;
on each server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from chaos.suites import wait_until
from eventsvc.embedded import free_port
from tests.support.processes import Server, Services, post
from tests.support.producer_harness import STREAM, until
from tests.support.readers import GROUP, add, running_reader

#: Set by a server that needs no more memory than it has now.
FULL = 1


@contextmanager
def full(client: Any) -> Iterator[None]:
    """Fill the memory of the server while the context lasts."""
    client.config_set("maxmemory", FULL)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def is_read(client: Any, group: str = GROUP) -> bool:
    """Return whether a group has read and acknowledged all entries."""
    [row] = [row for row in client.xinfo_groups(STREAM) if row["name"] == group.encode()]
    last = client.xinfo_stream(STREAM)["last-generated-id"]
    return bool(row["pending"] == 0 and row["last-delivered-id"] == last)


@pytest_twisted.ensureDeferred
async def test_a_full_server_is_drained(each_server: Server) -> None:
    """Reading, claiming, renewing, acknowledging and trimming need no memory."""
    with each_server.client() as client:
        add(client, 0, 1_000)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=200)
        client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=200)
        with full(client):
            async with running_reader(each_server, claim_idle=0.2, max_len=10) as reader:
                await until(lambda: len(reader.handled) == 1_000 and is_read(client))
                await until(lambda: client.xlen(STREAM) <= 10)
                assert reader.consumer.problem == ""


@pytest_twisted.ensureDeferred
async def test_a_group_that_is_missing_is_created_on_a_full_server(each_server: Server) -> None:
    """Otherwise the server would never be drained."""
    with each_server.client() as client:
        add(client, 0, 100)
        with full(client):
            async with running_reader(each_server) as reader:
                await until(lambda: len(reader.handled) == 100 and is_read(client))


@pytest_twisted.ensureDeferred
async def test_what_is_lost_is_told_by_a_full_server_too(each_server: Server) -> None:
    """A claim makes Redis forget a trimmed entry, whether or not its loss can be recorded."""
    with each_server.client() as client:
        add(client, 0, 3)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=2)
        [(first, _)] = client.xrange(STREAM, count=1)
        client.xdel(STREAM, first)
        with capturedLogs() as logs:
            async with running_reader(each_server, claim_idle=0.2) as reader:
                with full(client):
                    await until(lambda: reader.consumer.recovery.trimmed == 1)
                await until(lambda: len(reader.handled) == 2)
    assert [event for event in logs if event.get("details") == {"alarm": "trimmed_pending"}]


def start_both(services: Services, server: Server, **settings: str) -> int:
    """Start a producer and a consumer, and return the producer's port once both are up."""
    producer, admin = free_port(), free_port()
    environment = {"REDIS_PORT": f"{server.port}", **settings}
    made = services.start("eventsvc", "producer", "--rest-server-port", f"{producer}", environment=environment)
    services.start("eventsvc", "consumer", "--admin-port", f"{admin}", environment=environment)
    made.port()
    with server.client() as client:
        wait_until(lambda: client.exists(STREAM) and client.xinfo_groups(STREAM))
    return producer


def post_batch(port: int, events: int, size: int) -> int:
    """Post a batch of events of this size, and return the status."""
    return post(port, "[" + ",".join(['{"description":"' + "x" * size + '"}'] * events) + "]", "/events").status


@pytest.mark.parametrize(("hard_max", "max_len"), [(1_000, 100_000), (1_000, 1_000), (100_000, 100)])
def test_history_never_fills_the_stream_up(services: Services, server: Server, hard_max: int, max_len: int) -> None:
    """The producer refuses no event while the consumer keeps up."""
    settings = {"REDIS_STREAM_HARD_MAX": f"{hard_max}", "REDIS_STREAM_MAX_LEN": f"{max_len}"}
    port = start_both(services, server, **settings)
    with server.client() as client:
        for _ in range(40):
            wait_until(lambda: is_read(client))
            assert post_batch(port, 100, 10) == 200
        wait_until(lambda: client.xlen(STREAM) <= max(max_len, hard_max) * 0.75)


def test_history_never_fills_the_memory_up(services: Services, each_server: Server) -> None:
    """A stream of large events is trimmed before memory is full, whatever its length."""
    with each_server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 16 * 2**20)
        port = start_both(services, each_server)
        for _ in range(100):
            for _ in range(4):
                assert post_batch(port, 20, 5_000) == 200
            wait_until(lambda: is_read(client))
        assert client.xlen(STREAM) < 4_000
