"""
Benchmark of recovery: from the first command that Redis answers to the first 200.
"""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from contextlib import closing
from statistics import median

import redis

from benchmarks.figures import Bar, Section
from benchmarks.processes import RedisServer
from benchmarks.subjects import EVENT, EVENTSVC, Deployed, deploy
from chaos.suites import wait_until

_CLIENTS = 8
_OUTAGES = (0.2, 0.5, 1.0, 2.0)


def _answers(server: RedisServer) -> bool:
    """Return whether the server has loaded its data."""
    try:
        with server.client() as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _outage(deployed: Deployed, seconds: float) -> tuple[float, int]:
    """Return the seconds to the first 200 after an outage, and the number of failed posts."""
    over = threading.Event()
    answers: list[tuple[float, int]] = []

    def post() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", deployed.port, timeout=30)) as connection:
            while not over.is_set():
                connection.request("POST", "/event", EVENT)
                response = connection.getresponse()
                response.read()
                answers.append((time.monotonic(), response.status))

    threads = [threading.Thread(target=post) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    deployed.redis.end()
    time.sleep(seconds)
    deployed.redis.start()
    wait_until(lambda: _answers(deployed.redis), every=0.001)
    up = time.monotonic()
    time.sleep(1.0)
    over.set()
    for thread in threads:
        thread.join()
    return (
        min(moment for moment, status in answers if status == 200 and moment > up) - up,
        sum(status != 200 for _, status in answers),
    )


def recovery(rounds: int, seconds: float) -> Section:
    """Measure the recovery after Redis, which keeps its data, is killed under load and restarted."""
    with tempfile.TemporaryDirectory() as directory:
        deployed = deploy(EVENTSVC, ["--dir", directory, "--appendonly", "yes"])
        try:
            measured = {outage: [_outage(deployed, outage) for _ in range(rounds)] for outage in _OUTAGES}
        finally:
            deployed.end()
    everything = [time for rows in measured.values() for time, _ in rows]
    return Section(
        "Redis killed under load and started again",
        ["outage s", "first 200 after ms", "posts that failed"],
        [
            [
                f"{outage:g}",
                f"{median(t for t, _ in rows) * 1e3:.0f} ({min(rows)[0] * 1e3:.0f}-{max(rows)[0] * 1e3:.0f})",
                f"{sum(failed for _, failed in rows)}",
            ]
            for outage, rows in measured.items()
        ],
        [Bar("first 200 after, s (median of all)", median(everything), 0.1)],
    )
