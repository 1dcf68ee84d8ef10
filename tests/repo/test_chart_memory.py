"""
Tests that the defaults of the chart fit each other: what is kept in Redis, its
C{maxmemory}, the memory of its pod and its volume.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from eventsvc.settings import ConsumerSettings, ProducerSettings, StreamSettings
from eventsvc.settings.reading import rows
from tests.support.helm import render, the

MIB: Final = 1 << 20

#: Bytes in Redis of the smallest event, and of one of 4 kB where it takes the most (Redis 7.0): docs/capacity.md.
SMALL_EVENT: Final = 125
LARGE_EVENT: Final = 5_200
#: Bytes of an idempotency key where it takes the most (Redis 6.2): docs/operations.md.
KEY: Final = 122
#: Redis without data, with its threads, buffers and scripts.
EMPTY: Final = 24 * MIB
#: Resident memory for each byte of data: what the allocator cannot give back.
FRAGMENTATION: Final = 1.2

UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def size(text: str) -> int:
    """Return the bytes of a quantity of Kubernetes, or of a size as Redis writes it."""
    match = re.fullmatch(r"(\d+)(\w\w)", text)
    assert match is not None, text
    return int(match[1]) * UNITS[match[2]]


class Defaults:
    """What an installation with no values has."""

    def __init__(self) -> None:
        objects = render()
        pods = the(objects, "StatefulSet", "redis-master")["spec"]
        [redis] = [each for each in pods["template"]["spec"]["containers"] if each["name"] == "redis"]
        [claim] = pods["volumeClaimTemplates"]
        self.limit = size(redis["resources"]["limits"]["memory"])
        self.requested = size(redis["resources"]["requests"]["memory"])
        self.volume = size(claim["spec"]["resources"]["requests"]["storage"])
        text = "\n".join(str(each.get("data", "")) for each in objects if each["kind"] == "ConfigMap")
        self.maxmemory = size(re.findall(r"maxmemory (\w+)", text)[0])
        self.producers = the(objects, "Deployment", "event-producer")["spec"]["replicas"]
        given = {name: value for each in objects if each["kind"] == "ConfigMap" for name, value in each["data"].items()}
        self._settings = {
            row.name: type(row.default)(given.get(row.name, row.default))
            for _, row in rows(StreamSettings, ProducerSettings, ConsumerSettings)
            if isinstance(row.default, int | float)
        }

    def __getitem__(self, name: str) -> float:
        """Return a setting."""
        return self._settings[name]


@pytest.fixture(scope="module")
def defaults() -> Defaults:
    return Defaults()


def test_a_full_redis_fits_its_pod(defaults: Defaults) -> None:
    """Even if each page changes while the log is rewritten, so that Redis has all its data twice."""
    assert FRAGMENTATION * defaults.maxmemory + EMPTY < defaults.limit
    assert 2 * defaults.maxmemory + EMPTY < defaults.limit


def test_the_pod_asks_for_what_it_will_use(defaults: Defaults) -> None:
    """History fills its share of the memory sooner or later, and a pod above its request is evicted first."""
    assert FRAGMENTATION * defaults["REDIS_STREAM_MAX_MEMORY"] * defaults.maxmemory + EMPTY <= defaults.requested


def test_a_full_redis_fits_its_volume(defaults: Defaults) -> None:
    """The log may be twice the data before it is rewritten, and both are there until the new one is complete."""
    assert 4 * defaults.maxmemory <= defaults.volume


def test_history_leaves_room_for_what_producers_have_in_their_queues(defaults: Defaults) -> None:
    """So consumers that keep up trim before Redis is full, however quickly events come."""
    history = defaults["REDIS_STREAM_MAX_MEMORY"] * defaults.maxmemory
    assert defaults.producers * defaults["QUEUE_MAX_BYTES"] < defaults.maxmemory - history


def test_small_events_and_all_keys_fit(defaults: Defaults) -> None:
    """The hard limits are met before memory is full: a client is told what is full, not that Redis is."""
    keys = KEY * defaults["IDEMPOTENCY_MAX_KEYS"]
    assert keys + SMALL_EVENT * defaults["REDIS_STREAM_HARD_MAX"] <= defaults.maxmemory


def test_the_most_keys_leave_half_of_the_memory_for_events(defaults: Defaults) -> None:
    """Keys do not give way."""
    assert KEY * defaults["IDEMPOTENCY_MAX_KEYS"] <= defaults.maxmemory / 2


def test_a_history_of_large_events_gives_way(defaults: Defaults) -> None:
    """A full history of 4 kB events does not fit.  So it must end below the memory, and not at it."""
    assert LARGE_EVENT * defaults["REDIS_STREAM_MAX_LEN"] > defaults.maxmemory
    assert defaults["REDIS_STREAM_MAX_MEMORY"] <= 0.9
