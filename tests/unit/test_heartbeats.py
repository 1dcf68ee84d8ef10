"""
Tests for heartbeats: L{eventsvc.heartbeat} as records, and L{eventsvc.redis.processes} on each server.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import pytest_twisted

from eventsvc.heartbeat import Heartbeat, Spread, decode_heartbeat, encode_heartbeat
from eventsvc.histogram import Histogram
from eventsvc.redis import processes
from eventsvc.redis.processes import LIFETIME, Processes
from tests.support.processes import Server, Services
from tests.support.producer_harness import until
from tests.support.real_connection import logged, ready, started

STREAM = "NotificationStream"
KEY = "{NotificationStream}:processes"


def heartbeat(id: str = "a", **more: Any) -> Heartbeat:
    """Return a heartbeat of a consumer."""
    fixed = {"role": "consumer", "name": f"consumer-{id}", "host": "host", "pid": 1, "version": "1", "started": 0.0}
    return Heartbeat(id=id, uptime=1.5, **{**fixed, **more})


def age(client: Any, id: str, seconds: float) -> None:
    """Set the age of a heartbeat."""
    now, _ = client.time()
    _, _, record = client.hget(KEY, id).partition(b" ")
    client.hset(KEY, id, b"%d " % ((now - seconds) * 1000) + record)


def test_a_record_is_read_as_it_was_written() -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(0.5, 3)
    made = heartbeat(problem="no Redis", group="g", figures={"handled": 3.0}, spreads={"age": Spread.of(histogram)})
    histogram.observe(0.5)
    read = decode_heartbeat(encode_heartbeat(made))
    assert read is not None
    assert (read.problem, read.figures, read.spreads["age"].counts) == ("no Redis", {"handled": 3.0}, [0, 3, 0])
    assert msgspec.structs.replace(read, spreads=made.spreads) == made


def test_a_long_text_is_cut_off() -> None:
    read = decode_heartbeat(encode_heartbeat(heartbeat(problem="\ud83d" + "é" * 1_000)))
    assert read is not None
    assert len(read.problem.encode()) <= 300


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"null",
        b"[]",
        b'{"id":"a"}',
        b"\xff\xfe",
        encode_heartbeat(heartbeat()).replace(b'"pid":1', b'"pid":1e400'),
        encode_heartbeat(heartbeat()).replace(b'"pid":1', b'"pid":"1"'),
        encode_heartbeat(heartbeat(figures={"a": 1.0})).replace(b'"a":1.0', b'"a":NaN'),
        encode_heartbeat(heartbeat(version="x" * 301)),
        encode_heartbeat(heartbeat(spreads={"age": Spread((1.0,), (1,))})),
    ],
)
def test_another_record_is_no_heartbeat(record: bytes) -> None:
    """Whoever may write the key may write anything."""
    assert decode_heartbeat(record) is None


@pytest_twisted.ensureDeferred
async def test_heartbeats_are_kept_until_the_process_leaves(each_server: Server) -> None:
    async with started(each_server.port) as connection:
        await ready(connection)
        kept = Processes(connection, STREAM)
        assert await kept.read() == []
        await kept.beat(heartbeat("b", figures={"handled": 1.0}))
        await kept.beat(heartbeat("a"))
        await kept.beat(heartbeat("b", figures={"handled": 2.0}))
        found = await kept.read()
        assert [seen.heartbeat.id for seen in found] == ["a", "b"]
        assert found[1].heartbeat.figures == {"handled": 2.0}
        assert all(0 <= seen.age < 5 for seen in found)
        with each_server.client() as client:
            assert client.keys("*processes") == [KEY.encode()]
            assert LIFETIME - 5 < client.ttl(KEY) <= LIFETIME
        await kept.leave("b")
        assert [seen.heartbeat.id for seen in await kept.read()] == ["a"]
        await kept.leave("b")
        assert kept.problem == ""


@pytest_twisted.ensureDeferred
async def test_a_silent_process_is_shown_for_a_while_and_its_record_is_removed(server: Server) -> None:
    """It is removed when another process comes, so the records are bounded without a chore."""
    with server.client() as client:
        async with started(server.port) as connection:
            await ready(connection)
            kept = Processes(connection, STREAM)
            for id in ("killed", "long gone", "from the future"):
                await kept.beat(heartbeat(id))
            client.hset(KEY, "hostile", "no record")
            age(client, "killed", 60)
            age(client, "long gone", LIFETIME + 1)
            age(client, "from the future", -LIFETIME - 60)
            (seen,) = await kept.read()
            assert seen.heartbeat.id == "killed"
            assert 59 < seen.age < 70
            await kept.beat(heartbeat("killed"))
            assert client.hlen(KEY) == 4
            await kept.beat(heartbeat("new"))
            assert sorted(client.hkeys(KEY)) == [b"killed", b"new"]


@pytest_twisted.ensureDeferred
async def test_there_are_only_so_many(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST", 2)
    async with started(server.port) as connection:
        await ready(connection)
        kept = Processes(connection, STREAM)
        for id in ("a", "b", "c"):
            await kept.beat(heartbeat(id))
        assert kept.problem == f"stream {STREAM} has heartbeats of 2 processes already"
        await kept.beat(heartbeat("a"))
        assert kept.problem == ""
        assert [seen.heartbeat.id for seen in await kept.read()] == ["a", "b"]
        with server.client() as client:
            age(client, "a", LIFETIME + 1)
        await kept.beat(heartbeat("c"))  # in the place of one that is gone
        assert kept.problem == ""
        assert [seen.heartbeat.id for seen in await kept.read()] == ["b", "c"]


@pytest_twisted.ensureDeferred
async def test_a_user_without_the_right_goes_on_with_one_log_message(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            kept = Processes(connection, STREAM)
            client.execute_command("ACL", "SETUSER", "default", "resetkeys", f"~{STREAM}")
            with logged() as was_logged:
                await kept.beat(heartbeat())
                assert was_logged(
                    f"no dashboard shows this process: the user of Redis may not use the key {KEY}; it needs"
                )
            with logged() as was_logged:
                await kept.beat(heartbeat())
                assert await kept.read() == []
                await kept.leave("a")
                assert not was_logged("")
            assert f"the user of Redis may not use the key {KEY}" in kept.problem
            client.execute_command("ACL", "SETUSER", "default", "allkeys")
            await kept.beat(heartbeat())
            assert len(await kept.read()) == 1


@pytest.mark.parametrize("command", ["hset", "hdel", "hgetall", "pexpire"])
@pytest_twisted.ensureDeferred
async def test_without_one_of_the_rights_nothing_breaks(each_server: Server, command: str) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            kept = Processes(connection, STREAM)
            client.execute_command("ACL", "SETUSER", "default", f"-{command}")
            with logged() as was_logged:
                await kept.beat(heartbeat())
                await kept.leave("a")
                await kept.read()
                assert was_logged("it needs the rights +hset +hdel +hgetall +pexpire there") or command == "hgetall"
                assert not was_logged("Redis answered with an error")
            assert connection.ready


@pytest_twisted.ensureDeferred
async def test_a_full_server_and_a_wrong_key_are_told(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            kept = Processes(connection, STREAM)
            client.config_set("maxmemory", 1)
            await kept.beat(heartbeat())
            assert kept.problem == "Redis is out of memory"
            client.config_set("maxmemory", 0)
            client.set(KEY, "a")
            await kept.beat(heartbeat())
            assert kept.problem == "Redis refuses heartbeats (WRONGTYPE)"
            assert await kept.read() == []
            assert kept.problem == "Redis refuses heartbeats (WRONGTYPE)"


@pytest_twisted.ensureDeferred
async def test_every_role_leaves_heartbeats(own_server: Server, services: Services) -> None:
    """One of each stream of a producer; an end in order removes them, a kill leaves them."""
    redis = ("--redis-port", str(own_server.port))
    producer = services.start("eventsvc", "producer", *redis, "--rest-server-port", "0", "--redis-streams", "Other")
    consumer = services.start("eventsvc", "consumer", *redis, "--redis-consumer", "me")
    async with started(own_server.port) as connection:
        await ready(connection)
        kept, other = Processes(connection, STREAM), Processes(connection, "Other")

        async def roles(stream: Processes) -> list[str]:
            return [seen.heartbeat.role for seen in await stream.read()]

        while await roles(kept) != ["consumer", "producer"] or await roles(other) != ["producer"]:
            await until(lambda: True)
        seen, producing = await kept.read()
        assert (seen.heartbeat.name, seen.heartbeat.group) == ("me", "demo_consumer_group")
        assert seen.heartbeat.pid == consumer.process.pid
        assert seen.heartbeat.figures["handled"] == 0
        assert producing.heartbeat.figures["accepted"] == 0
        assert consumer.stop() == 0
        assert await roles(kept) == ["producer"]
        producer.stop(9)
        assert await roles(kept) == ["producer"]
