"""
Tests for L{eventsvc.redis.durability} on real servers, with replicas that are
held behind, killed and missing, and with an append-only file that is switched off.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import ensureDeferred

from chaos.process import stable_port
from eventsvc.interfaces import Unknown
from eventsvc.outcome import Outcome
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import Durability, OnDisk, OnReplicas
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.settings import RedisSettings
from eventsvc.submission import AppendReply, BatchOutcome, Kept, Submission
from eventsvc.tap.parts.connection import make_connection
from tests.support.fake_connection import usable
from tests.support.processes import Server
from tests.support.producer_harness import STREAM, ProducerHarness, in_thread, read_stream, running_producer, until
from tests.support.real_connection import logged, ready
from tests.support.replicas import connected_replicas, running_replica

reactor: Any = installed_reactor


def on_replicas(least: int = 1, longest: float = 0.2) -> OnReplicas:
    return OnReplicas(reactor, least, longest=longest)


@asynccontextmanager
async def connected(server: Server, durability: Durability, **account: Any) -> AsyncIterator[Connection]:
    """Run a connection that may not be ready yet."""
    settings = RedisSettings(port=server.port, retry_period=0.05, **account)
    connection = make_connection(reactor, settings, prepare=stream_opener(STREAM), find_problem=durability.find_problem)
    connection.startService()
    try:
        yield connection
    finally:
        await connection.stopService()


def stored(server: Server) -> list[str]:
    return [event.description for event in read_stream(server)]


@pytest_twisted.ensureDeferred
async def test_no_wait_is_satisfied_by_what_was_written_before(each_server: Server, tmp_path: Path) -> None:
    """
    See the Note [A wait that proves nothing].

    While the replica is stopped a batch is stored, and sent again: twice at the
    same moment on the same session, and on a new one, which has written nothing.
    """
    batch = [Submission((1,), (b"event",))]
    durability = on_replicas()
    with running_replica(each_server, tmp_path / "replica") as replica:
        for _ in range(2):
            async with connected(each_server, durability) as connection:
                await ready(connection)
                log = RedisEventLog(connection, STREAM, durability=durability)
                replica.send(signal.SIGSTOP)
                for attempt in [log.append(b"id", 1, batch, 1), log.append(b"id", 1, batch, 1)]:
                    with pytest.raises(Unknown):
                        await attempt
                assert connection.connects == 1
        async with connected(each_server, on_replicas(longest=1.5)) as connection:
            await ready(connection)
            log = RedisEventLog(connection, STREAM, durability=on_replicas(longest=1.5))
            replica.send(signal.SIGCONT)
            assert await log.append(b"id", 1, batch, 1) == AppendReply(BatchOutcome.DUPLICATE, kept=Kept(1, 1))
        with each_server.client() as client:
            assert client.xlen(STREAM) == 2  # with the marker


@pytest_twisted.ensureDeferred
async def test_an_event_is_answered_once_the_replica_has_it(each_server: Server, tmp_path: Path) -> None:
    """While the replica is held behind no event is answered 200; then each is, and is stored once."""
    with running_replica(each_server, tmp_path / "replica") as replica, logged() as said:
        async with running_producer(each_server, durability=on_replicas(), wait=20.0) as producer:
            assert (await producer.post("before")).outcome is Outcome.OK
            replica.send(signal.SIGSTOP)
            held = producer.load(4, lambda: len(producer.ops) >= 5)
            await until(lambda: said("batches are stored but not confirmed: fewer than 1 replicas"))
            assert len(producer.ops) == 1
            replica.send(signal.SIGCONT)
            await held
            verdict = producer.judge(least_ok=5)
            assert verdict.held, verdict.describe()
            assert all(op.outcome is Outcome.OK for op in producer.ops)


@pytest_twisted.ensureDeferred
async def test_a_replica_that_dies_during_the_wait(each_server: Server, tmp_path: Path) -> None:
    """The event that waits is stored, and unknown.  Those after it are refused, until there is a replica again."""
    durability = on_replicas()
    words = "REDIS_DURABILITY=replicas needs 1 replicas (REDIS_MIN_REPLICAS): 0 follow Redis"
    with running_replica(each_server, tmp_path / "replica") as replica, logged() as said:
        async with running_producer(each_server, durability=durability, wait=4.0) as producer:
            assert (await producer.post("before")).outcome is Outcome.OK
            replica.send(signal.SIGSTOP)
            waiting = ensureDeferred(producer.post("waiting"))
            await until(lambda: "waiting" in stored(each_server))
            replica.send(signal.SIGKILL)
            await until(lambda: not connected_replicas(each_server))
            assert (await waiting).outcome is Outcome.UNKNOWN
            await _check(producer)
            assert not usable(producer.connection)
            await producer.post_until_refused("refused")
            await until(lambda: said(words))
            with running_replica(each_server, tmp_path / "another"):
                await producer.connection.when_ready()
                assert (await producer.post("after")).outcome is Outcome.OK
        assert stored(each_server) == ["before", "waiting", "after"]


async def _check(producer: ProducerHarness) -> None:
    """Do what a beat of the producer does; there is nothing to check without a session."""
    if producer.connection.ready:
        await producer.connection.check()


@pytest_twisted.ensureDeferred
async def test_a_primary_that_is_demoted_during_the_wait(each_server: Server, tmp_path: Path) -> None:
    """Redis answers UNBLOCKED, which elsewhere means that nothing was done; here the event is stored."""
    durability = on_replicas(longest=1.5)
    with running_replica(each_server, tmp_path / "replica") as replica, each_server.client() as client:
        async with running_producer(each_server, durability=durability, wait=10.0) as producer:
            replica.send(signal.SIGSTOP)
            waiting = ensureDeferred(producer.post("waiting"))
            await until(lambda: "waiting" in stored(each_server))
            await until(lambda: durability._asking)
            client.execute_command("REPLICAOF", "127.0.0.1", stable_port())
            await until(lambda: not producer.connection.ready)
            client.execute_command("REPLICAOF", "NO", "ONE")
            replica.send(signal.SIGCONT)
            assert (await waiting).outcome is Outcome.OK
        assert stored(each_server) == ["waiting"]


@pytest_twisted.ensureDeferred
async def test_a_server_that_asks_for_replicas_itself(each_server: Server, tmp_path: Path) -> None:
    """With min-replicas-to-write events are refused truly under each level, and are stored again with a replica."""
    with each_server.client() as client:
        async with running_producer(each_server, wait=3.1) as producer:
            client.config_set("min-replicas-to-write", 1)
            client.config_set("min-replicas-max-lag", 10)
            await producer.post_until_refused("refused")
            with running_replica(each_server, tmp_path / "replica"):
                await until(lambda: client.info("replication")["min_slaves_good_slaves"])
                assert (await producer.post("stored")).outcome is Outcome.OK
            await until(lambda: not connected_replicas(each_server))
            await producer.post_until_refused("refused")
        assert stored(each_server) == ["stored"]


@pytest_twisted.ensureDeferred
async def test_the_disk_confirms_what_is_written_at_once(own_server: Server) -> None:
    """
    With another appendfsync the producer is not ready, at the start and later.

    Under everysec Valkey confirms what is not on the disk: see the Note [What WAITAOF confirms].
    """
    words = "REDIS_DURABILITY=disk needs appendfsync always"
    durability = OnDisk(reactor)
    with own_server.client() as client:
        client.config_set("appendfsync", "everysec")
        with logged() as said:
            async with connected(own_server, durability) as connection:
                await until(lambda: said(words))
                client.config_set("appendfsync", "always")
                await ready(connection)
                log = RedisEventLog(connection, STREAM, durability=durability)
                reply = await log.append(b"id", 1, [Submission((1,), (b"event",))], 1)
                assert reply.outcome is BatchOutcome.APPENDED
                assert sum(durability.seconds.counts) == 1
                client.config_set("appendfsync", "no")
                await connection.check()
                assert not usable(connection)


def is_written(client: Any) -> bool:
    """Whether the append-only file was written for the first time: before, Redis confirms nothing."""
    about = client.info("persistence")
    return not (about["aof_rewrite_in_progress"] or about["aof_rewrite_scheduled"])


@pytest_twisted.ensureDeferred
async def test_an_append_only_file_that_is_switched_off(own_server: Server) -> None:
    """It is found by the check of each second: events are refused truly until it is on again."""
    with own_server.client() as client, logged() as said:
        client.config_set("appendfsync", "always")
        async with running_producer(own_server, durability=OnDisk(reactor), wait=3.1) as producer:
            client.config_set("appendonly", "no")
            await _check(producer)
            await producer.post_until_refused("refused")
            assert said("REDIS_DURABILITY=disk needs an append-only file: set appendonly of Redis to yes")
            client.config_set("appendonly", "yes")
            await until(lambda: is_written(client))
            await producer.connection.when_ready()
            assert (await producer.post("after")).outcome is Outcome.OK
            client.config_set("appendonly", "no")  # and the event comes before the check
            assert (await producer.post("in doubt")).outcome is Outcome.UNKNOWN
            assert not usable(producer.connection)


@pytest_twisted.ensureDeferred
async def test_a_server_that_cannot_say_what_is_on_its_disk(each_server: Server) -> None:
    """Before Redis 7.2 there is no WAITAOF."""
    durability = OnDisk(reactor)
    with each_server.client() as client, logged() as said:
        client.config_set("appendfsync", "always")
        has_it = client.info("server")["redis_version"] >= "7.2"
        async with connected(each_server, durability) as connection:
            if has_it:
                await ready(connection)
            else:
                await until(lambda: said("REDIS_DURABILITY=disk needs Redis 7.2 or newer: this one has no WAITAOF"))
                assert not usable(connection)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("level", "command"), [("disk", "waitaof"), ("replicas", "wait")])
async def test_a_right_that_is_taken_away(own_server: Server, tmp_path: Path, level: str, command: str) -> None:
    """At the start and later: not ready, in words, until it is given back."""
    durability: Durability = OnDisk(reactor) if level == "disk" else on_replicas()
    words = f"REDIS_DURABILITY={level} needs the right to run {command.upper()}"

    def allow(sign: str) -> None:
        client.execute_command("ACL", "SETUSER", "worker", "on", ">pass", "~*", "+@all", f"{sign}{command}")

    with running_replica(own_server, tmp_path / "replica"), own_server.client() as client:
        client.config_set("appendfsync", "always")
        allow("-")
        async with connected(own_server, durability, username="worker", password="pass") as connection:
            with logged() as said:
                await until(lambda: said(words))
                allow("+")
                await ready(connection)
            allow("-")
            log = RedisEventLog(connection, STREAM, durability=durability)
            with logged() as said:
                with pytest.raises(Unknown):
                    await log.append(b"id", 1, [Submission((1,), (b"event",))], 1)
                await until(lambda: said(words))
                assert not usable(connection)


@pytest_twisted.ensureDeferred
async def test_streams_that_wait_share_a_session(own_server: Server, tmp_path: Path) -> None:
    """A replica that is held behind costs none of them the session, however many there are."""
    durability = on_replicas(longest=1.0)
    with running_replica(own_server, tmp_path / "replica") as replica:
        async with connected(own_server, durability) as connection:
            await ready(connection)
            logs = [RedisEventLog(connection, f"Stream{number}", durability=durability) for number in range(8)]
            replica.send(signal.SIGSTOP)
            attempts = [log.append(b"id", 1, [Submission((1,), (b"event",))], 1) for log in logs]
            for attempt in attempts:
                with pytest.raises(Unknown):
                    await attempt
            await in_thread(lambda: replica.send(signal.SIGCONT))
            for log in logs:
                assert await log.append(b"id", 1, [Submission((1,), (b"event",))], 1) == AppendReply(
                    BatchOutcome.DUPLICATE, kept=Kept(1, 1)
                )
            assert connection.connects == 1
