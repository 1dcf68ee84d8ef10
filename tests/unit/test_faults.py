"""
Tests for the producer's guarantee on a real server with real faults, checked
against the stream as an independent client reads it.
"""

from __future__ import annotations

import json
import random
import signal

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.outcome import Outcome
from tests.support.processes import Server, Services, post
from tests.support.producer_harness import STREAM, in_thread, pause, read_stream, running_producer, until


@pytest_twisted.ensureDeferred
async def test_connections_killed_hundreds_of_times_under_load_lose_and_double_nothing(each_server: Server) -> None:
    kills = 0
    chance = random.Random(1)
    with each_server.client() as client:
        async with running_producer(each_server, wait=60.0) as producer:
            counts = producer.appender.counts

            def is_enough() -> bool:
                """Whether kills did hit batches that were stored; give up if they never do."""
                hit = counts.duplicates_resolved > 0 or kills >= 5_000
                return hit and kills >= 200 and len(producer.ops) >= 5_000

            loading = producer.load(100, is_enough)
            while producer.working:
                await producer.connection.when_ready()
                kills += await in_thread(lambda: client.client_kill_filter(_type="normal", skipme=True))
                await producer.answered(1)
                await pause(chance.uniform(0.0, 0.003))
            await loading
            verdict = producer.judge(least_ok=5_000)
    assert verdict.held, verdict.describe()
    assert counts.duplicates_resolved > 0


@pytest_twisted.ensureDeferred
async def test_a_server_killed_and_started_again_fails_nobody_who_could_wait(each_server: Server) -> None:
    async with running_producer(each_server, wait=30.0) as producer:
        loading = producer.load(20, lambda: len(producer.ops) >= 1_200, rest=0.01)
        for _ in range(3):
            await producer.answered(200)
            each_server.end(signal.SIGKILL)
            await pause(0.2)
            await in_thread(each_server.start)
        await loading
        verdict = producer.judge(least_ok=1_200)
        assert verdict.held, verdict.describe()
        assert producer.connection.connects == 4


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_makes_outcomes_unknown_not_untrue(each_server: Server) -> None:
    async with running_producer(each_server, wait=0.5) as producer:
        loading = producer.load(20, lambda: len(producer.ops) >= 800, rest=0.05)
        await producer.answered(100)
        each_server.send(signal.SIGSTOP)
        await until(lambda: not producer.connection.ready)  # no reply in time
        each_server.send(signal.SIGCONT)
        await loading
        verdict = producer.judge()
        assert verdict.held, verdict.describe()
        assert producer.appender.counts.unknown > 0


@pytest_twisted.ensureDeferred
async def test_flushed_scripts_are_sent_again(each_server: Server) -> None:
    with each_server.client() as client:
        async with running_producer(each_server) as producer:
            loading = producer.load(10, lambda: len(producer.ops) >= 1_000)
            while producer.working:
                await in_thread(client.script_flush)
                await producer.answered(50)
            await loading
            verdict = producer.judge(least_ok=1_000)
            assert verdict.held, verdict.describe()
            assert producer.connection.connects == 1


@pytest_twisted.ensureDeferred
async def test_a_flushed_server_is_given_back_what_it_had(each_server: Server) -> None:
    with each_server.client() as client, capturedLogs() as logs:
        async with running_producer(each_server) as producer:
            for number in range(10):
                await producer.post(f"before {number}")
            await in_thread(client.flushall)
            for number in range(10):
                await producer.post(f"after {number}")
            verdict = producer.judge(alarms=producer.appender.counts.lost, least_ok=20)
            assert verdict.held, verdict.describe()
            assert producer.appender.counts.restored == 10
            assert [event.description for event in read_stream(each_server)] == [op.description for op in producer.ops]
    assert {"alarm": "restored"} in [event.get("details") for event in logs]


@pytest_twisted.ensureDeferred
async def test_a_server_that_went_back_is_repaired_by_an_idle_producer(each_server: Server) -> None:
    """The server has the sequence before the last, as a lagging replica does, and the connection breaks."""
    with each_server.client() as client:
        async with running_producer(each_server) as producer:
            await producer.post("one")
            [producer_id] = client.keys("{NotificationStream}:lane:*")
            before = client.dump(producer_id)
            await producer.post("two")
            client.restore(producer_id, 1_000_000, before, replace=True)
            client.xdel(STREAM, client.xrevrange(STREAM, count=1)[0][0])
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: producer.appender.counts.restored)
            assert (await producer.post("three")).outcome is Outcome.OK
            assert [event.description for event in read_stream(each_server)] == ["one", "two", "three"]
            assert producer.appender.counts.lost == 0


@pytest_twisted.ensureDeferred
async def test_a_server_out_of_memory_refuses_truly_and_recovers(each_server: Server) -> None:
    with each_server.client() as client:
        async with running_producer(each_server, wait=3.1) as producer:
            assert (await producer.post("before")).outcome is Outcome.OK
            client.config_set("maxmemory", 1)
            await producer.post_until_refused("during")
            client.config_set("maxmemory", 0)
            assert (await producer.post("after")).outcome is Outcome.OK
            verdict = producer.judge(least_ok=2)
            assert verdict.held, verdict.describe()


@pytest_twisted.ensureDeferred
async def test_a_demoted_primary_is_left_and_used_again_once_it_is_promoted(each_server: Server) -> None:
    """Nothing is stored meanwhile."""
    with each_server.client() as client:
        async with running_producer(each_server, wait=3.1) as producer:
            assert (await producer.post("before")).outcome is Outcome.OK
            client.execute_command("REPLICAOF", "127.0.0.1", stable_port())
            await producer.post_until_refused("during")
            assert not producer.connection.ready
            client.execute_command("REPLICAOF", "NO", "ONE")
            await producer.connection.when_ready()
            assert (await producer.post("after")).outcome is Outcome.OK
            verdict = producer.judge(least_ok=2)
            assert verdict.held, verdict.describe()


REFUSALS: list[tuple[tuple[str | int, ...], str, str]] = [
    (("CONFIG", "SET", "maxmemory", 1), "OOM", "Redis is out of memory"),
    (("CONFIG", "SET", "min-replicas-to-write", 1), "NOREPLICAS", "Redis has too few replicas"),
    (("SET", STREAM, "no stream"), "WRONGTYPE", "Redis holds something else in the place of the stream"),
    (("REPLICAOF", "127.0.0.1", 1), "Redis at 127.0.0.1", "Redis is a read-only replica"),
]
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("/event", '{"description": "hello"}', {}),
    ("/event", '{"description": "hello"}', {"Idempotency-Key": '"key"'}),
    ("/events", '[{"description": "hello"}]', {}),
    ("/events", '[{"description": "hello"}]', {"Idempotency-Key": '"another"'}),
]

#: What is added where a key was not looked up.
IN_DOUBT = "; an earlier request with this key may have been stored"


@pytest.mark.parametrize(("command", "code", "words"), REFUSALS)
def test_clients_are_told_in_our_words_and_the_log_in_those_of_redis(
    each_server: Server, services: Services, command: tuple[str | int, ...], code: str, words: str
) -> None:
    """On every route; the log has the text once, not at each attempt."""
    flags = ["--rest-server-port=0", f"--redis-port={each_server.port}", "--redis-write-timeout=0.3"]
    producer = services.start("eventsvc", "producer", *flags)
    port = producer.port()
    wait_until(lambda: producer.says("connected to Redis"))
    with each_server.client() as client:
        client.delete(STREAM)
        client.execute_command(*command)
    answers = [json.loads(post(port, body, path, headers).body) for path, body, headers in REQUESTS]
    told = {answer["description"].removesuffix(IN_DOUBT) for answer in answers}
    assert told <= {words, "Redis is away", "Redis did not confirm the event in time"}
    producer.stop()
    logged = [line["message"] for line in producer.lines() if line["level"] == "warn" and code in line["message"]]
    assert len(logged) == 1


@pytest_twisted.ensureDeferred
async def test_another_type_under_the_key_refuses_truly_and_recovers(each_server: Server) -> None:
    with each_server.client() as client:
        async with running_producer(each_server, wait=3.1) as producer:
            client.delete(STREAM)
            client.set(STREAM, "not a stream")
            await producer.post_until_refused("during")
            client.delete(STREAM)
            assert (await producer.post("after")).outcome is Outcome.OK
            verdict = producer.judge()
            assert verdict.held, verdict.describe()


@pytest_twisted.ensureDeferred
async def test_a_full_stream_refuses_and_takes_again_when_there_is_room(each_server: Server) -> None:
    with each_server.client() as client:
        async with running_producer(each_server, hard_max=3) as producer:
            outcomes = [(await producer.post(f"{number}")).outcome for number in range(4)]
            assert outcomes == [*[Outcome.OK] * 2, *[Outcome.REFUSED] * 2]  # the marker is one of three
            client.xtrim(STREAM, maxlen=1, approximate=False)
            assert (await producer.post("after")).outcome is Outcome.OK
            assert [each.description for each in read_stream(each_server)] == ["1", "after"]


@pytest_twisted.ensureDeferred
async def test_a_stream_that_was_deleted_is_created_with_its_marker_on_the_next_connection(each_server: Server) -> None:
    with each_server.client() as client:
        async with running_producer(each_server) as producer:
            client.delete(STREAM)
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: producer.connection.connects == 2)
            assert [fields for _, fields in client.xrange(STREAM)] == [{b"CreateStream": b"stream created"}]
