"""
Tests with real producers that have few file descriptors and far more connections.
"""

from __future__ import annotations

import resource
import selectors
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import attrs
import pytest

from chaos.suites import wait_until
from tests.support.processes import Server, Service, Services, post

EVENT = '{"description": "hello"}'
#: A request without an end.
BEGUN = b"POST /event HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
PROBES = ("/health/live", "/health/ready", "/metrics")


@attrs.define
class Flood:
    """Many clients of one service that send part of a request, or nothing."""

    port: int
    clients: list[socket.socket] = attrs.field(factory=list)

    def connect(self, number: int, begin: bytes = b"") -> None:
        """Open more connections."""
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", self.port), timeout=30.0)
            client.send(begin)
            self.clients.append(client)

    def open(self) -> int:
        """Return how many connections the service has not closed."""
        with selectors.DefaultSelector() as ready:
            for client in self.clients:
                ready.register(client, selectors.EVENT_READ)
            return len(self.clients) - len(ready.select(0))

    def end(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def floods() -> Iterator[list[Flood]]:
    made: list[Flood] = []
    yield made
    for flood in made:
        flood.end()


def start(services: Services, server: Server, floods: list[Flood], descriptors: int) -> tuple[Service, Flood]:
    service = services.start(
        "eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}", descriptors=descriptors
    )
    floods.append(Flood(service.port()))
    wait_until(lambda: post(floods[-1].port, EVENT).status == 200)
    return service, floods[-1]


def status(port: int, path: str) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30.0)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status


def test_under_a_flood_redis_can_be_reached_again(services: Services, server: Server, floods: list[Flood]) -> None:
    """With few descriptors, many more idle connections, and new ones all the time."""
    service, flood = start(services, server, floods, 256)
    flood.connect(1000)
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    def is_back() -> bool:
        flood.connect(20)
        return service.out().count("connected to Redis") >= 2

    wait_until(is_back)
    assert post(flood.port, EVENT).status == 200
    assert [status(flood.port, path) for path in PROBES] == [200] * 3
    assert len(service.lines()) < 30


def test_silent_connections_keep_nobody_out(services: Services, server: Server, floods: list[Flood]) -> None:
    """There are three times as many as the limit."""
    _, flood = start(services, server, floods, 1000)
    most = 1000 - 128
    for _ in range(10):
        flood.connect(260)
        assert post(flood.port, EVENT).status == 200
        assert [status(flood.port, path) for path in PROBES] == [200] * 3
    assert flood.open() <= most


def test_probes_get_in_when_all_connections_are_busy(services: Services, server: Server, floods: list[Flood]) -> None:
    """Clients that have begun a request keep their connections; others get an error body."""
    service, flood = start(services, server, floods, 256)
    flood.connect(128, BEGUN)
    for _ in range(5):
        flood.connect(100)
        answer = post(flood.port, EVENT)
        assert answer.status == 503
        assert '"stored":"no"' in answer.body
        assert [status(flood.port, path) for path in PROBES] == [200] * 3
    assert len(service.lines()) < 30


def test_a_process_takes_the_descriptors_that_it_may_have(services: Services, server: Server) -> None:
    """It warns if they are few."""
    few = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}", descriptors=500)
    few.port()
    wait_until(lambda: few.says("at most 372 connections"))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 10_128:
        many = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
        many.port()
        wait_until(lambda: many.says("connected to Redis"))
        assert not many.says("connections are accepted, because")
