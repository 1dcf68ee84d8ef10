"""
Benchmarks of posting: single posts, batches, many connections, overload, long
streams.
"""

from __future__ import annotations

import http.client
import re
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from statistics import median

from benchmarks.figures import Bar, Rounds, Sample, Section, cpu, p99, rate, ratio, show
from benchmarks.processes import RedisServer
from benchmarks.subjects import (
    EVENT,
    EVENTSVC,
    FAST_PATH_OFF,
    FASTAPI,
    KLEIN,
    STREAM,
    WEBDIS,
    Deployed,
    Subject,
    deploy,
)
from benchmarks.wrk import run_wrk

_BATCH = b"\n".join([EVENT] * 1_000)
_CROWD = 2_000
#: A notification of typical length.
_STORED = '{"id":4613732495722164000,"description":"hello world","timestamp":"2025-02-25T22:06:25.478310425Z"}'


def measure(deployed: Deployed, connections: int, seconds: float, body: bytes = b"", path: str = "") -> Sample:
    """Measure one round of one service; C{body} and C{path} are given for batches of 1,000 events."""
    before = deployed.service.cpu()
    url = deployed.url.removesuffix(deployed.subject.path) + path if path else deployed.url
    run = run_wrk(url, body or deployed.subject.body, connections, seconds)
    events = run.requests * (1_000 if body else 1)
    used = deployed.service.cpu() - before
    return Sample(events / run.seconds, used / events * 1e6, deployed.service.memory(), run.p50, run.p99)


def single_posts(rounds: int, seconds: float, subjects: Sequence[Subject] = ()) -> Section:
    """Measure one event per request on 32 connections; all services take turns."""
    subjects = subjects or (EVENTSVC, FAST_PATH_OFF, WEBDIS, FASTAPI, KLEIN)
    samples: dict[str, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        deployed = [deploy(subject) for subject in subjects]
        for each in deployed:
            stack.callback(each.end)
            measure(each, 32, 1.0)  # warm up
        for _ in range(rounds):
            for each in deployed:
                samples[each.subject.name].append(measure(each, 32, seconds))
                each.clear()
    ours, off, webdis, klein = (samples[subject.name] for subject in (EVENTSVC, FAST_PATH_OFF, WEBDIS, KLEIN))
    return Section(
        "Single posts, 32 connections",
        ["service", "events/s", "CPU us/event", "p50 ms", "p99 ms", "memory MB"],
        [[name, *_row(rows), show(rows, lambda sample: sample.memory)] for name, rows in samples.items()],
        [
            Bar("CPU per event / fast path off", ratio(ours, off, cpu), 0.2),
            Bar("CPU per event / webdis", ratio(ours, webdis, cpu), 1.2),
            Bar("CPU per event / plain Klein", ratio(ours, klein, cpu), 0.125),
            Bar("p99 / webdis", ratio(ours, webdis, p99), 1.5),
        ],
    )


def _row(rows: Rounds) -> list[str]:
    return [
        show(rows, rate),
        show(rows, cpu, digits=1),
        show(rows, lambda sample: sample.p50, 1e-3, 2),
        show(rows, p99, 1e-3, 2),
    ]


def batches(rounds: int, seconds: float) -> Section:
    """Measure 1,000 events per request, compared with pipelined XADD."""
    ours: list[Sample] = []
    limit: list[Sample] = []
    with ExitStack() as stack:
        redis = RedisServer()
        redis.start()
        stack.callback(redis.end)
        deployed = deploy(EVENTSVC)
        stack.callback(deployed.end)
        measure(deployed, 4, 1.0, _BATCH, "/events")
        for _ in range(rounds):
            deployed.clear()
            ours.append(measure(deployed, 4, seconds, _BATCH, "/events"))
            limit.append(Sample(_pipelined_xadd(redis), 0.0, 0.0))
    return Section(
        "Batches of 1,000 events (NDJSON), 4 connections",
        ["", "events/s", "CPU us/event"],
        [
            ["eventsvc POST /events", show(ours, rate), show(ours, cpu, digits=2)],
            ["redis-benchmark -P 64 XADD", show(limit, rate), "-"],
        ],
        [Bar("events/s / redis-benchmark", ratio(ours, limit, rate), 0.35, at_most=False)],
    )


def _pipelined_xadd(redis: RedisServer) -> float:
    with redis.client() as client:
        client.delete(STREAM)
    command = ["redis-benchmark", "-p", f"{redis.port}", "-P", "64", "-n", "1000000", "-q", "--csv"]
    text = subprocess.run(
        [*command, "XADD", STREAM, "*", "EventStream", _STORED], capture_output=True, text=True, check=True
    ).stdout
    return float(re.findall(r'"([\d.]+)"', text.splitlines()[-1])[0])


def connections(rounds: int, seconds: float) -> Section:
    """Measure the CPU per event with 1 to 512 connections."""
    samples: dict[int, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        deployed = deploy(EVENTSVC)
        stack.callback(deployed.end)
        measure(deployed, 32, 1.0)
        for _ in range(rounds):
            for number in (1, 8, 32, 128, 512):
                samples[number].append(measure(deployed, number, seconds))
                deployed.clear()
    return Section(
        "More connections",
        ["connections", "events/s", "CPU us/event", "p50 ms", "p99 ms"],
        [[f"{number}", *_row(rows)] for number, rows in samples.items()],
        [Bar("CPU per event, 512 / 32 connections", ratio(samples[512], samples[32], cpu), 1.0)],
    )


def overload(rounds: int, seconds: float) -> Section:
    """Measure more batches than Redis can store, and more connections than a batch has events."""
    few: list[Sample] = []
    many: list[Sample] = []
    crowd: list[Sample] = []
    with ExitStack() as stack:
        deployed = deploy(EVENTSVC)
        stack.callback(deployed.end)
        measure(deployed, 4, 1.0, _BATCH, "/events")
        for _ in range(rounds):
            for samples, number, body, path in (
                (few, 4, _BATCH, "/events"),
                (many, 128, _BATCH, "/events"),
                (crowd, _CROWD, b"", ""),
            ):
                deployed.clear()
                samples.append(measure(deployed, number, seconds, body, path))
    return Section(
        "Overload",
        ["", "events/s", "CPU us/event", "p50 ms", "p99 ms"],
        [
            ["batches of 1,000, 4 connections", *_row(few)],
            ["batches of 1,000, 128 connections", *_row(many)],
            [f"single posts, {_CROWD:,} connections", *_row(crowd)],
        ],
        [
            Bar("events/s, 128 / 4 connections", ratio(many, few, rate), 0.9, at_most=False),
            Bar(
                "p99 at 2,000 connections / (connections / throughput)",
                median(sample.p99 * sample.rate / _CROWD for sample in crowd),
                3.0,
            ),
        ],
    )


def long_streams(rounds: int, seconds: float) -> Section:
    """Measure the CPU per event and the memory as the stream grows."""
    samples: dict[int, list[Sample]] = defaultdict(list)
    memory: dict[int, float] = {}
    with ExitStack() as stack:
        deployed = deploy(EVENTSVC)
        stack.callback(deployed.end)
        with deployed.redis.client() as client:
            for length in (10_000, 100_000, 1_000_000):
                _fill(deployed, max(0, length - client.xlen(STREAM)) // 1_000)
                memory[length] = deployed.service.memory()
                samples[length] = [measure(deployed, 32, seconds) for _ in range(rounds)]
    return Section(
        "Longer streams",
        ["entries", "events/s", "CPU us/event", "p50 ms", "p99 ms", "memory MB"],
        [[f"{length:,}", *_row(rows), f"{memory[length]:.1f}"] for length, rows in samples.items()],
        [
            Bar("CPU per event, 10^6 / 10^4 entries", ratio(samples[1_000_000], samples[10_000], cpu), 1.1),
            Bar("memory after 10^6 less after 10^5 events, MB", memory[1_000_000] - memory[100_000], 10.0),
        ],
    )


def _fill(deployed: Deployed, batches: int) -> None:
    """Store batches of 1,000 events through the service."""
    with closing(http.client.HTTPConnection("127.0.0.1", deployed.port, timeout=30)) as connection:
        for _ in range(batches):
            connection.request("POST", "/events", _BATCH)
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status
