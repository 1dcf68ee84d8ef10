"""
Tests that an overloaded producer stores as many events as one under a load that fits.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import attrs
import pytest

from chaos.process import stable_port
from chaos.suites import PATIENCE, wait_until
from tests.support.processes import Server, Services, running_server

BATCH = b"\n".join([b'{"description": "hello world"}'] * 1_000)
#: Answers of one measurement.
ANSWERS = 100


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


def answered(clients: list[Client]) -> int:
    """Return how many requests were answered, whatever the answer."""
    return sum(client.statuses.total() for client in clients)


def run(clients: list[Client], enough: Callable[[], bool]) -> None:
    """Let all clients post until this is true."""
    until = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.go_on()
            selector.register(client.connection, client.wants, client)
        while not enough():
            assert time.monotonic() < until, [client.statuses for client in clients]
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
            clients[-1].begin()
        yield clients


def speed(port: int, server: Server, number: int) -> float:
    """Return how many batches are stored in a second with this many clients, without a refusal."""
    with server.client() as redis:
        redis.xtrim("NotificationStream", maxlen=0, approximate=False)
    with connected(port, number, request("/events", BATCH)) as clients:
        # What the clients before have left behind is stored first, and the queue fills.
        run(clients, lambda: all(client.statuses for client in clients))
        before, begun = answered(clients), time.monotonic()
        run(clients, lambda: answered(clients) >= before + ANSWERS)
        stored, seconds = answered(clients) - before, time.monotonic() - begun
    assert set(sum([client.statuses for client in clients], Counter[bytes]())) == {b"200"}
    return stored / seconds


@pytest.fixture
def port(services: Services, server: Server) -> int:
    number = stable_port()
    services.start(
        *("eventsvc", "producer", "--rest-server-port", f"{number}", "--redis-port", f"{server.port}"),
        *("--redis-stream-hard-max", "10000000", "--redis-write-timeout", "60"),
    )

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", number)) == 0

    wait_until(is_up)
    return number


def test_many_clients_get_as_much_stored_as_few(port: int, server: Server) -> None:
    """With batches of 1,000, a full queue costs no throughput and refuses no request."""
    few, many = zip(*[(speed(port, server, 4), speed(port, server, 128)) for _ in range(3)])
    assert max(many) >= max(few) / 2  # measured: 1.0; refusing at once: 0.1


def test_single_events_of_others_get_through(port: int) -> None:
    """They are answered sooner than the batches."""
    single = request("/event", b'{"description": "single"}')
    with connected(port, 128, request("/events", BATCH)) as batches, connected(port, 8, single) as singles:
        everybody = batches + singles
        run(everybody, lambda: all(client.statuses for client in everybody))
    assert all(set(client.statuses) == {b"200"} for client in singles)
    assert max(client.longest for client in singles) < max(client.longest for client in batches)
