"""
Benchmarks of consumers: a group is read to the end of the stream.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks.figures import Bar, Sample, Section, cpu, rate, ratio, show
from benchmarks.processes import RedisServer, start
from benchmarks.subjects import STREAM
from chaos.suites import TWISTD, wait_until

GROUP = "demo_consumer_group"
COUNT = 500
EVENTS = 200_000
#: Number of events to skip, so that start-up and the first small reads are not measured.
_WARM = 20_000
_HERE = Path(__file__).parent


@attrs.frozen
class Reader:
    """A consumer to measure; C{command} gets the port of Redis."""

    name: str
    command: Callable[[int], Sequence[str]]


OURS = Reader(
    "eventsvc, a JSON line per event", lambda port: [*TWISTD, "-n", "eventsvc", "consumer", "--redis-port", f"{port}"]
)
BARE = Reader(
    "bare hiredis loop, no handler",
    lambda port: [sys.executable, str(_HERE / "peers" / "bare_reader.py"), f"{port}", f"{COUNT}"],
)
FASTSTREAM = Reader(
    "FastStream, a JSON line per event",
    lambda port: [sys.executable, str(_HERE / "peers" / "faststream_reader.py"), f"{port}", f"{COUNT}"],
)


def fill(redis: RedisServer) -> None:
    """Store the events, and create a group that has read none."""
    stored = b'{"id":4613732495722164000,"description":"hello world","timestamp":"2025-02-25T22:06:25.478310425Z"}'
    with redis.client() as client:
        client.delete(STREAM)
        for _ in range(EVENTS // 10_000):
            pipe = client.pipeline(transaction=False)
            for _ in range(10_000):
                pipe.xadd(STREAM, {"EventStream": stored})
            pipe.execute()
        client.xgroup_create(STREAM, GROUP, "0")


def measure(reader: Reader, redis: RedisServer) -> Sample:
    """Measure a consumer that reads all events once."""
    fill(redis)
    with redis.client() as client, tempfile.TemporaryDirectory() as directory:

        def acknowledged() -> int:
            [group] = client.xinfo_groups(STREAM)
            return int(group["entries-read"] or 0) - int(group["pending"])

        running = start(reader.command(redis.port), output=Path(directory, "output"))
        try:
            first = wait_until(lambda: (done := acknowledged()) >= _WARM and done, patience=60.0)
            begin, before = time.monotonic(), running.cpu()
            wait_until(lambda: acknowledged() >= EVENTS, patience=60.0)
            seconds, used, memory = time.monotonic() - begin, running.cpu() - before, running.memory()
        finally:
            running.end()
    events = EVENTS - first
    return Sample(events / seconds, used / events * 1e6, memory)


def consumers(rounds: int, seconds: float) -> Section:
    """Measure reading, handling and acknowledging; all consumers take turns."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    redis = RedisServer()
    redis.start()
    try:
        for _ in range(rounds):
            for reader in (OURS, BARE, FASTSTREAM):
                samples[reader.name].append(measure(reader, redis))
    finally:
        redis.end()
    return Section(
        f"Consumers, COUNT {COUNT}",
        ["consumer", "events/s", "CPU us/event", "memory MB"],
        [
            [name, show(rows, rate), show(rows, cpu, digits=1), show(rows, lambda sample: sample.memory)]
            for name, rows in samples.items()
        ],
        [Bar("events/s / bare loop", ratio(samples[OURS.name], samples[BARE.name], rate), 0.4, at_most=False)],
    )
