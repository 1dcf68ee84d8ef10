"""
Tests that an overloaded producer stores as many events as one under a load that fits.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import attrs
import pytest

from chaos.suites import wait_until
from eventsvc.embedded import free_port
from tests.support.processes import Server, Services, running_server

BATCH = b"\n".join([b'{"description": "hello world"}'] * 1_000)
#: Seconds of one measurement.
DURATION = 2.0


def request(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


@attrs.define(eq=False)
class Client:
    """Posts the same request repeatedly, and records each status and duration."""

    connection: socket.socket
    request: bytes
    statuses: Counter[bytes] = attrs.field(factory=Counter)
    longest: float = 0.0
    _unsent: bytes = b""
    _begun: float = 0.0
    _received: bytes = b""

    def begin(self) -> None:
        self._unsent, self._begun, self._received = self.request, time.monotonic(), b""
        self.go_on()

    def go_on(self) -> None:
        """Send what the server accepts."""
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self.connection.send(self._unsent) :]

    @property
    def wants(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def receive(self) -> None:
        """Receive an answer, and post again once it is complete."""
        self._received += self.connection.recv(65_536)
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) == int(head.partition(b"Content-Length: ")[2].split()[0]):
            self.statuses[head[9:12]] += 1
            self.longest = max(self.longest, time.monotonic() - self._begun)
            self.begin()


def run(clients: list[Client]) -> None:
    """Let all clients post for a while."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.begin()
            selector.register(client.connection, client.wants, client)
        end = time.monotonic() + DURATION
        while time.monotonic() < end:
            for key, events in selector.select(0.1):
                client = key.data
                if events & selectors.EVENT_WRITE:
                    client.go_on()
                if events & selectors.EVENT_READ:
                    client.receive()
                if client.wants != key.events:
                    selector.modify(client.connection, client.wants, client)


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as made:
        yield made


@contextmanager
def connected(port: int, number: int, data: bytes) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        clients = []
        for _ in range(number):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.setblocking(False)
            clients.append(Client(connection, data))
        yield clients


def batches_stored(port: int, server: Server, number: int) -> int:
    """Return how many batches are stored with this many clients, without a refusal."""
    with server.client() as redis:
        redis.xtrim("NotificationStream", maxlen=0, approximate=False)
    with connected(port, number, request("/events", BATCH)) as clients:
        run(clients)
    statuses = sum([client.statuses for client in clients], Counter[bytes]())
    assert set(statuses) == {b"200"}
    return statuses[b"200"]


@pytest.fixture
def port(services: Services, server: Server) -> int:
    number = free_port()
    services.start(
        *("eventsvc", "producer", "--rest-server-port", f"{number}", "--redis-port", f"{server.port}"),
        *("--redis-stream-hard-max", "10000000"),
    )

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", number)) == 0

    wait_until(is_up)
    return number


def test_many_clients_get_as_much_stored_as_few(port: int, server: Server) -> None:
    """With batches of 1,000, a full queue costs no throughput and refuses no request."""
    few = [batches_stored(port, server, 4)]
    many = []
    for _ in range(3):
        many.append(batches_stored(port, server, 128))
        few.append(batches_stored(port, server, 4))
    ratios = sorted(2 * mine / (before + after) for before, mine, after in zip(few, many, few[1:]))
    assert ratios[1] >= 0.8  # measured: 1.0; refusing at once: 0.1


def test_single_events_of_others_get_through(port: int) -> None:
    """They are answered sooner than the batches."""
    single = request("/event", b'{"description": "single"}')
    with connected(port, 128, request("/events", BATCH)) as batches, connected(port, 8, single) as singles:
        run(batches + singles)
    assert all(set(client.statuses) == {b"200"} for client in singles)
    assert max(client.longest for client in singles) < max(client.longest for client in batches)
