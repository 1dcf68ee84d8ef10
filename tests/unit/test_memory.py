"""
Tests that a producer under load without Redis stays within its memory limits.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.processes import Server, Service, Services

MEGABYTE = 1_048_576
#: Seconds of load, as long as the promise says.
DURATION = 60.0
#: What may come on top of the bound on the queue.
ALLOWANCE = 20 * MEGABYTE
CLIENTS = 16


def resident(service: Service) -> int:
    """Return the resident memory of a process, in bytes."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> int:
    connection.request("POST", path, body)
    response = connection.getresponse()
    response.read()
    return response.status


def is_up(service: Service, port: int) -> bool:
    assert service.process.poll() is None, service.err()
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        try:
            post(connection, "/event", b"{}")
        except OSError:
            return False
    return True


def load(port: int, number: int, until: float) -> Counter[int]:
    """Post load: half of the clients post single events, half batches of a megabyte."""
    event = json.dumps({"description": "x" * 1_000}).encode()
    path, body = ("/event", event) if number % 2 else ("/events", b"\n".join([event] * 1_000))
    statuses: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while time.monotonic() < until:
            statuses[post(connection, path, body)] += 1
            time.sleep(0.2)  # the pace of the load
    return statuses


def test_a_minute_of_load_without_redis_leaves_memory_within_its_bounds(services: Services) -> None:
    port, bound = stable_port(), 8 * MEGABYTE
    producer = services.start(
        *("eventsvc", "producer", "--rest-server-port", f"{port}", "--redis-port", f"{stable_port()}"),
        *("--queue-max-bytes", f"{bound}", "--redis-write-timeout", "1"),
    )
    wait_until(lambda: is_up(producer, port))
    before = resident(producer)
    until = time.monotonic() + DURATION
    with ThreadPoolExecutor(CLIENTS) as pool:
        loading = [pool.submit(load, port, number, until) for number in range(CLIENTS)]
        peak = before
        while not all(each.done() for each in loading):
            peak = max(peak, resident(producer))
            time.sleep(0.1)
    statuses = sum((each.result() for each in loading), Counter[int]())
    assert set(statuses) == {503}
    assert statuses[503] // 2 * MEGABYTE > 10 * bound  # about that much was offered
    assert peak - before <= bound + ALLOWANCE
    assert producer.stop() == 0


def send(connection: socket.socket, data: bytes) -> bytes:
    """Send what the server accepts within a while, and return the rest."""
    with suppress(BlockingIOError):
        return data[connection.send(data) :]
    return data


@pytest.mark.parametrize("path", ["/event", "/events"])
def test_bodies_that_do_not_end_leave_memory_within_its_bounds(services: Services, path: str) -> None:
    """There are hundreds of a megabyte, each without its last byte, while others post single events."""
    port, bound, clients = stable_port(), 8 * MEGABYTE, 400
    server = Server()
    server.start()
    try:
        producer = services.start(
            *("eventsvc", "producer", "--rest-server-port", f"{port}", "--redis-port", f"{server.port}"),
            *("--queue-max-bytes", f"{bound}"),
        )
        wait_until(lambda: is_up(producer, port))
        before = peak = resident(producer)
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {MEGABYTE}\r\n\r\n".encode()
        body = head + b'{"description": "%b"}'.ljust(MEGABYTE, b" ")
        with ExitStack() as stack, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as other:
            rest = {}
            for _ in range(clients):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                connection.setblocking(False)
                rest[connection] = body[:-1]
            statuses: Counter[int] = Counter()
            for _ in range(50):
                for connection, data in rest.items():
                    rest[connection] = send(connection, data)
                statuses[post(other, "/event", b'{"description": "small"}')] += 1
                peak = max(peak, resident(producer))
        assert statuses == {200: 50}
        assert peak - before <= bound + ALLOWANCE
        assert producer.stop() == 0
    finally:
        server.end()
