"""
Tests for a Redis whose memory is full: it is drained, and history never fills it;
on each server.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD
from tests.support.processes import Answer, Server, Service, Services, get, post
from tests.support.producer_harness import STREAM, until
from tests.support.readers import GROUP, add, running_reader

#: Set by a server that needs no more memory than it has now.
FULL = 1


@contextmanager
def full(client: Any) -> Iterator[None]:
    """Fill the memory of the server while the context lasts."""
    client.config_set("maxmemory", FULL)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def is_read(client: Any, group: str = GROUP) -> bool:
    """Return whether a group has read and acknowledged all entries."""
    [row] = [row for row in client.xinfo_groups(STREAM) if row["name"] == group.encode()]
    last = client.xinfo_stream(STREAM)["last-generated-id"]
    return bool(row["pending"] == 0 and row["last-delivered-id"] == last)


@pytest_twisted.ensureDeferred
async def test_a_full_server_is_drained(each_server: Server) -> None:
    """Reading, claiming, renewing, acknowledging and trimming need no memory."""
    with each_server.client() as client:
        add(client, 0, 1_000)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=200)
        client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=200)
        with full(client):
            async with running_reader(each_server, claim_idle=0.2, max_len=10) as reader:
                await until(lambda: len(reader.handled) == 1_000 and is_read(client))
                await until(lambda: client.xlen(STREAM) <= 10)
                assert reader.consumer.problem == ""


@pytest_twisted.ensureDeferred
async def test_a_group_that_is_missing_is_created_on_a_full_server(each_server: Server) -> None:
    """Otherwise the server would never be drained."""
    with each_server.client() as client:
        add(client, 0, 100)
        with full(client):
            async with running_reader(each_server) as reader:
                await until(lambda: len(reader.handled) == 100 and is_read(client))


@pytest_twisted.ensureDeferred
async def test_what_is_lost_is_told_by_a_full_server_too(each_server: Server) -> None:
    """A claim makes Redis forget a trimmed entry, whether or not its loss can be recorded."""
    with each_server.client() as client:
        add(client, 0, 3)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=2)
        [(first, _)] = client.xrange(STREAM, count=1)
        client.xdel(STREAM, first)
        with capturedLogs() as logs:
            async with running_reader(each_server, claim_idle=0.2) as reader:
                with full(client):
                    await until(lambda: reader.consumer.recovery.trimmed == 1)
                await until(lambda: len(reader.handled) == 2)
    assert [event for event in logs if event.get("details") == {"alarm": "trimmed_pending"}]


def start_both(services: Services, server: Server, **settings: str) -> int:
    """Start a producer and a consumer, and return the producer's port once both are up."""
    producer, admin = stable_port(), stable_port()
    environment = {"REDIS_PORT": f"{server.port}", **settings}
    made = services.start("eventsvc", "producer", "--rest-server-port", f"{producer}", environment=environment)
    services.start("eventsvc", "consumer", "--admin-port", f"{admin}", environment=environment)
    made.port()
    with server.client() as client:
        wait_until(lambda: client.exists(STREAM) and client.xinfo_groups(STREAM))
    return producer


def start_producer(services: Services, server: Server, **settings: str) -> tuple[Service, int]:
    """Start a producer alone, and return it with its port."""
    environment = {"REDIS_PORT": f"{server.port}", "REDIS_WRITE_TIMEOUT": "1", **settings}
    producer = services.start("eventsvc", "producer", "--rest-server-port", "0", environment=environment)
    port = producer.port()
    wait_until(lambda: get(port, "/health/ready")[0] == 200)
    return producer, port


def limit_memory(client: Any, more: int) -> None:
    """Let the server use so many bytes more than it does."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + more)


def count_events(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> int:
    """Return how many entries are events, which the marker is not."""
    return sum(EVENT_FIELD in fields for _, fields in entries)


def read_all(client: Any, group: str, consumer: str = "foreign", acknowledge: bool = True) -> int:
    """Read as a foreign consumer does, and return the number of events."""
    count = 0
    while rows := client.xreadgroup(group, consumer, {STREAM: ">"}, count=1_000):
        [(_, entries)] = rows
        count += count_events(entries)
        if acknowledge:
            client.xack(STREAM, group, *[id for id, _ in entries])
    return count


def figure(port: int, name: str) -> float:
    """Return a figure of a producer, which has one sample or none."""
    found = [line.rpartition(" ")[2] for line in get(port, "/metrics")[1].splitlines() if line.startswith(name)]
    return float(found[0]) if found else 0.0


def outcome(answer: Answer) -> str:
    """Return what an answer says of the events: C{stored}, C{no} or C{unknown}."""
    return "stored" if answer.status == 200 else str(json.loads(answer.body)["stored"])


def is_refused_in_words(port: int, text: str) -> bool:
    """Post an event; return whether it is refused for full memory.  It may be unknown, if it was just sent."""
    answer = json.loads(post(port, json.dumps({"description": text})).body)
    assert answer.get("stored") in ("no", "unknown")
    words = {"title": "Redis Client error", "description": "Redis is out of memory"}
    return bool(answer == {"status": 503, "stored": "no", **words})


def answer_to_batch(port: int, events: int, size: int) -> Answer:
    """Post a batch of events of this size."""
    return post(port, "[" + ",".join(['{"description":"' + "x" * size + '"}'] * events) + "]", "/events")


def post_batch(port: int, events: int, size: int) -> int:
    """Post a batch of events of this size, and return the status."""
    return answer_to_batch(port, events, size).status


@pytest.mark.parametrize(("hard_max", "max_len"), [(1_000, 100_000), (1_000, 1_000), (100_000, 100)])
def test_history_never_fills_the_stream_up(services: Services, server: Server, hard_max: int, max_len: int) -> None:
    """The producer refuses no event while the consumer keeps up."""
    settings = {"REDIS_STREAM_HARD_MAX": f"{hard_max}", "REDIS_STREAM_MAX_LEN": f"{max_len}"}
    port = start_both(services, server, **settings)
    with server.client() as client:
        for _ in range(40):
            wait_until(lambda: is_read(client))
            assert post_batch(port, 100, 10) == 200
        wait_until(lambda: client.xlen(STREAM) <= max(max_len, hard_max) * 0.75)


def test_history_never_fills_the_memory_up(services: Services, each_server: Server) -> None:
    """A stream of large events is trimmed before memory is full, whatever its length."""
    with each_server.client() as client:
        limit_memory(client, 8 * 2**20)
        port = start_both(services, each_server)
        for _ in range(50):
            for _ in range(4):
                assert post_batch(port, 20, 5_000) == 200
            wait_until(lambda: is_read(client))
        assert client.xlen(STREAM) < 2_000


def test_history_gives_way_where_no_consumer_of_ours_trims(services: Services, each_server: Server) -> None:
    """Foreign consumers read and acknowledge; what they have done makes room for new events."""
    with each_server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        limit_memory(client, 8 * 2**20)
        producer, port = start_producer(services, each_server, REDIS_WRITE_TIMEOUT="30")
        posted = read = 0
        for _ in range(50):
            for _ in range(4):
                assert post_batch(port, 20, 5_000) == 200
                posted += 20
            read += read_all(client, GROUP)
        assert read == posted
        assert client.xlen(STREAM) < 2_000
        assert figure(port, "eventsvc_trimmed_by_producer_total") > 2_000
    assert "redis_full" not in producer.out()


def test_two_groups_and_a_dead_consumer_lose_nothing(services: Services, each_server: Server) -> None:
    """
    A flood fills the memory again and again, with a group that is behind, and one whose consumer died.

    Whatever is trimmed, each group still reads every event that was answered 200, and has its pending ones.
    What is unknown, because the machine is slow, may be read too.
    """
    told = Counter[str]()
    with each_server.client() as client:
        for group in ("quick", "behind"):
            client.xgroup_create(STREAM, group, "0", mkstream=True)
        limit_memory(client, 5 * 2**20)
        _, port = start_producer(services, each_server, REDIS_WRITE_TIMEOUT="0.3")
        read = {"quick": 0, "behind": 0}
        dead: list[bytes] = []
        for turn in range(40):
            for _ in range(3):
                told[outcome(answer_to_batch(port, 40, 5_000))] += 40
            read["quick"] += read_all(client, "quick")
            if turn % 10 == 5:
                for _, entries in client.xreadgroup("behind", "dead", {STREAM: ">"}, count=7):
                    dead += [id for id, _ in entries]
                    read["behind"] += count_events(entries)
            if turn % 10 == 9:
                read["behind"] += read_all(client, "behind")
                held = client.xrange(STREAM, min(dead), max(dead))
                assert set(dead) <= {id for id, _ in held}
                for id, fields in client.xclaim(STREAM, "behind", "heir", 0, dead):
                    assert fields is not None, id
                client.xack(STREAM, "behind", *dead)
                dead.clear()
        for group in read:
            read[group] += read_all(client, group)
        assert told["stored"] > 0 < told["no"]
        assert told["stored"] <= read["quick"] == read["behind"] <= told["stored"] + told["unknown"]
        assert figure(port, "eventsvc_trimmed_by_producer_total") > 0


def test_a_redis_that_stays_full_refuses_in_words_until_memory_is_freed(
    services: Services, each_server: Server
) -> None:
    """Nobody has read the events: none is trimmed.  Health stays ready, and one line of the log says it."""
    with each_server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        limit_memory(client, 4 * 2**20)
        producer, port = start_producer(services, each_server)
        told = Counter[str]()
        while not told["no"]:
            told[outcome(answer_to_batch(port, 20, 5_000))] += 20
        for _ in range(2):
            wait_until(lambda: is_refused_in_words(port, "x" * 100_000))
        assert figure(port, 'eventsvc_events_refused_total{reason="redis_full"') == told["no"] + 2
        assert figure(port, 'eventsvc_events_refused_total{reason="redis_away"') == 0
        assert figure(port, "eventsvc_redis_full") == 1
        share = figure(port, "eventsvc_redis_memory_bytes") / figure(port, "eventsvc_redis_memory_max_bytes")
        assert 0.9 < share < 1.2  # Redis refuses once it is past the limit
        assert get(port, "/health/ready") == (200, '{"status":"ready"}')
        assert told["stored"] + 1 <= client.xlen(STREAM) <= told["stored"] + told["unknown"] + 1
        assert [line["level"] for line in producer.lines() if line.get("alarm") == "redis_full"] == ["error"]
        read_all(client, GROUP)
        wait_until(lambda: post_batch(port, 20, 5_000) == 200)
        wait_until(lambda: figure(port, "eventsvc_redis_full") == 0)
        wait_until(lambda: producer.says("Redis takes new events again"))


def test_a_producer_without_the_right_to_trim_goes_on(services: Services, each_server: Server) -> None:
    """It refuses until somebody else makes room, and says why it cannot."""
    with each_server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        client.execute_command("ACL", "SETUSER", "default", "-xtrim")
        try:
            limit_memory(client, 4 * 2**20)
            producer, port = start_producer(services, each_server)

            def has_told() -> bool:
                post_batch(port, 20, 5_000)
                read_all(client, GROUP)
                return producer.says("History could not be trimmed: Redis denies access")

            wait_until(has_told)
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+xtrim")
        client.xtrim(STREAM, maxlen=10, approximate=False)
        wait_until(lambda: post_batch(port, 20, 5_000) == 200)


def test_a_producer_starts_on_a_full_server_without_its_stream(services: Services, each_server: Server) -> None:
    """Other keys fill it.  The stream cannot be created, and events are refused for that reason, while it is full."""
    with each_server.client() as client, full(client):
        _, port = start_producer(services, each_server)
        wait_until(lambda: is_refused_in_words(port, "x"))
        assert figure(port, 'eventsvc_events_refused_total{reason="redis_full"') == 1
        client.config_set("maxmemory", 0)
        wait_until(lambda: post_batch(port, 2, 10) == 200)
        wait_until(lambda: figure(port, "eventsvc_redis_full") == 0)
