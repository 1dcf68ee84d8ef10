"""
Benchmark of what a 200 promises: an event in memory, on a replica, or on the disk.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

import attrs

from benchmarks.figures import Bar, Sample, Section, cpu, p99, rate, ratio, show
from benchmarks.posting import measure
from benchmarks.processes import RedisServer
from benchmarks.subjects import Deployed, deploy, durable
from chaos.suites import wait_until


@attrs.frozen
class Level:
    """
    A level of C{REDIS_DURABILITY}, on a server that can give it.

    @ivar sync: C{appendfsync} of the server; none without an append-only file.
    """

    name: str
    setting: str
    sync: str = ""


MEMORY = Level("memory", "memory")
REPLICA = Level("replicas, 1 of them", "replicas")
ALWAYS = Level("disk, appendfsync always", "disk", "always")
EVERYSEC = Level("memory, appendfsync everysec", "memory", "everysec")


def _deploy(level: Level, stack: ExitStack) -> Deployed:
    options: Sequence[str] = ()
    if level.sync:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        options = ["--appendonly", "yes", "--appendfsync", level.sync, "--dir", directory]
    deployed = deploy(durable(level.setting), options)
    stack.callback(deployed.end)
    if level is REPLICA:
        replica = RedisServer(["--dir", stack.enter_context(tempfile.TemporaryDirectory())])
        replica.start()
        stack.callback(replica.end)
        with replica.client() as client, deployed.redis.client() as primary:
            client.replicaof("127.0.0.1", deployed.redis.port)
            wait_until(lambda: primary.set("anything", "") and primary.wait(1, 50))
    return deployed


def durability(rounds: int, seconds: float) -> Section:
    """Measure one event per request on 512 connections; all levels take turns."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        deployed = {level: _deploy(level, stack) for level in (MEMORY, EVERYSEC, REPLICA, ALWAYS)}
        for each in deployed.values():
            wait_until(each.is_ready)
            measure(each, 512, 1.0)  # warm up
        for _ in range(rounds):
            for level, each in deployed.items():
                samples[level.name].append(measure(each, 512, seconds))
                each.clear()
    memory = samples[MEMORY.name]
    return Section(
        "What a 200 promises, 512 connections",
        ["REDIS_DURABILITY", "events/s", "CPU us/event", "p50 ms", "p99 ms"],
        [
            [
                name,
                show(rows, rate),
                show(rows, cpu, digits=1),
                show(rows, lambda sample: sample.p50, 1e-3, 2),
                show(rows, p99, 1e-3, 2),
            ]
            for name, rows in samples.items()
        ],
        [
            Bar("events/s, replicas / memory", ratio(samples[REPLICA.name], memory, rate), 0.6, at_most=False),
            Bar("events/s, disk (always) / memory", ratio(samples[ALWAYS.name], memory, rate), 0.6, at_most=False),
        ],
    )
