"""
A producer under load without Redis holds no more than its bounds.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from eventsvc.embedded import free_port
from eventsvc.test.processes import Service, Services, wait_until

MEGABYTE = 1_048_576
#: Seconds of load, as long as the promise says.
DURATION = 60.0
#: What may come on top of the bound on the queue.
ALLOWANCE = 20 * MEGABYTE
CLIENTS = 16


def resident(service: Service) -> int:
    """Bytes of memory a process has now."""
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
    """Half of the clients post single events, half batches of a megabyte."""
    event = json.dumps({"description": "x" * 1_000}).encode()
    path, body = ("/event", event) if number % 2 else ("/events", b"\n".join([event] * 1_000))
    statuses: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while time.monotonic() < until:
            statuses[post(connection, path, body)] += 1
            time.sleep(0.2)  # the pace of the load
    return statuses


def test_a_minute_of_load_without_redis_leaves_memory_within_its_bounds(services: Services) -> None:
    port, bound = free_port(), 8 * MEGABYTE
    producer = services.start(
        *("eventsvc", "producer", "--rest-server-port", f"{port}", "--redis-port", f"{free_port()}"),
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
