"""
Measures consumers that write each event to a database exactly once.

C{python -m benchmarks.inboxes} stores events, runs a consumer with
C{eventsvc.handlers.inbox}, and prints how many it handles in a second.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.processes import RedisServer, start
from benchmarks.subjects import STREAM
from chaos.suites import TWISTD, wait_until
from tests.support.inboxes import Place, postgres_place, sqlite_place
from tests.support.postgres import running_postgres

GROUP: Final = "demo_consumer_group"
#: The first ones are not measured, so that start-up is not.
_WARM: Final = 0.1


def fill(redis: RedisServer, count: int) -> None:
    """Store events with random ids, and create a group that has read none."""
    random = Random(7)
    with redis.client() as client:
        client.delete(STREAM)
        for begin in range(0, count, 10_000):
            pipe = client.pipeline(transaction=False)
            for number in range(begin, min(count, begin + 10_000)):
                stamp = f"2026-11-27T09:00:00.{number:09d}Z"
                event = {"id": random.getrandbits(63), "description": "hello world", "timestamp": stamp}
                pipe.xadd(STREAM, {"EventStream": json.dumps(event)})
            pipe.execute()
        client.xgroup_create(STREAM, GROUP, "0")


def measure(redis: RedisServer, place: Place, count: int, directory: Path) -> tuple[float, float]:
    """Run a consumer until all events are acknowledged; events per second, and CPU microseconds per event."""
    fill(redis, count)
    os.environ.update(INBOX_DSN=place.dsn, INBOX_CALLS=os.devnull)
    handler = "--handler=tests.support.inbox_handlers.fast"
    command = [*TWISTD, "-n", "eventsvc", "consumer", f"--redis-port={redis.port}", handler]
    with redis.client() as client:

        def acknowledged() -> int:
            [group] = client.xinfo_groups(STREAM)
            return int(group["entries-read"] or 0) - int(group["pending"])

        running = start(command, output=directory / "output")
        try:
            first = wait_until(lambda: (done := acknowledged()) >= count * _WARM and done, patience=60.0)
            begin, before = time.monotonic(), running.cpu()
            wait_until(lambda: acknowledged() >= count, patience=600.0)
            seconds, used = time.monotonic() - begin, running.cpu() - before
        finally:
            running.end()
    assert len(set(place.effects())) == len(place.effects()) == count
    return (count - first) / seconds, used / (count - first) * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inboxes", description=(__doc__ or "").strip())
    parser.add_argument("--events", type=int, default=60_000, help="events in a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each database")
    parser.add_argument("--directory", help="where the databases are: the disk to measure")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        redis = RedisServer()
        redis.start()
        stack.callback(redis.end)
        server = stack.enter_context(running_postgres(directory=options.directory))
        for number in range(options.rounds):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
            for name, place in (
                ("SQLite", sqlite_place(str(directory / "effects.db"))),
                ("PostgreSQL", postgres_place(server)),
            ):
                rate, cpu = measure(redis, place, options.events, directory)
                print(f"run {number + 1}  {name:10}  {rate:7,.0f} events/s  {cpu:5.0f} us of CPU per event", flush=True)


if __name__ == "__main__":
    main()
