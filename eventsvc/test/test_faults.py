"""
The producer's promise on a real server that breaks in every way at hand:
judged by what another client reads from the stream.
"""

from __future__ import annotations

import random
import signal

import pytest_twisted
from twisted.logger import capturedLogs

from eventsvc.test.processes import Server
from eventsvc.test.rig import STREAM, in_thread, pause, read_stream, running_rig, until


@pytest_twisted.ensureDeferred
async def test_connections_killed_hundreds_of_times_under_load_lose_and_double_nothing(server: Server) -> None:
    kills = 0
    chance = random.Random(1)
    with server.client() as client:
        async with running_rig(server, wait=60.0) as rig:
            loading = rig.load(100, lambda: kills >= 200 and len(rig.ops) >= 20_000)
            while rig.working:
                await rig.connection.when_ready()
                kills += await in_thread(lambda: client.client_kill_filter(_type="normal", skipme=True))
                await rig.answered(1)
                await pause(chance.uniform(0.0, 0.003))
            await loading
            verdict = rig.judge(least_ok=20_000)
    assert verdict.held, verdict.describe()
    assert rig.appender.counts.duplicates_resolved > 0  # the kills did hit


@pytest_twisted.ensureDeferred
async def test_a_server_killed_and_started_again_fails_nobody_who_could_wait(own_server: Server) -> None:
    async with running_rig(own_server, wait=30.0) as rig:
        loading = rig.load(20, lambda: len(rig.ops) >= 1_200, rest=0.01)
        for _ in range(3):
            await rig.answered(200)
            own_server.end(signal.SIGKILL)
            await pause(0.2)
            await in_thread(own_server.start)
        await loading
        verdict = rig.judge(least_ok=1_200)
        assert verdict.held, verdict.describe()
        assert rig.connection.connects == 4


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_makes_outcomes_unknown_not_untrue(own_server: Server) -> None:
    async with running_rig(own_server, wait=0.5) as rig:
        loading = rig.load(20, lambda: len(rig.ops) >= 800, rest=0.05)
        await rig.answered(100)
        own_server.send(signal.SIGSTOP)
        await until(lambda: not rig.connection.ready)  # no reply in time
        own_server.send(signal.SIGCONT)
        await loading
        verdict = rig.judge()
        assert verdict.held, verdict.describe()
        assert rig.appender.counts.unknown > 0


@pytest_twisted.ensureDeferred
async def test_flushed_scripts_are_sent_again(own_server: Server) -> None:
    with own_server.client() as client:
        async with running_rig(own_server) as rig:
            loading = rig.load(10, lambda: len(rig.ops) >= 1_000)
            while rig.working:
                await in_thread(client.script_flush)
                await rig.answered(50)
            await loading
            verdict = rig.judge(least_ok=1_000)
            assert verdict.held, verdict.describe()
            assert rig.connection.connects == 1


@pytest_twisted.ensureDeferred
async def test_a_flushed_server_is_noticed_and_alarmed(own_server: Server) -> None:
    with own_server.client() as client, capturedLogs() as logs:
        async with running_rig(own_server) as rig:
            for number in range(10):
                await rig.post(f"before {number}")
            wiped = rig.ops[-1].ended
            await in_thread(client.flushall)
            for number in range(10):
                await rig.post(f"after {number}")
            verdict = rig.judge(wiped=wiped, alarms=rig.appender.counts.lost, least_ok=20)
            assert verdict.held, verdict.describe()
            assert rig.appender.counts.lost == 1
            assert len(read_stream(own_server)) == 10
    assert any("LOST" in (event["log_format"] or "") for event in logs)


@pytest_twisted.ensureDeferred
async def test_a_server_out_of_memory_refuses_truly_and_recovers(own_server: Server) -> None:
    with own_server.client() as client:
        async with running_rig(own_server, wait=0.3) as rig:
            assert (await rig.post("before")).outcome == "ok"
            client.config_set("maxmemory", 1)
            assert (await rig.post("during")).outcome == "refused"
            client.config_set("maxmemory", 0)
            assert (await rig.post("after")).outcome == "ok"
            verdict = rig.judge(least_ok=2)
            assert verdict.held, verdict.describe()


@pytest_twisted.ensureDeferred
async def test_another_type_under_the_key_refuses_truly_and_recovers(own_server: Server) -> None:
    with own_server.client() as client:
        async with running_rig(own_server, wait=0.3) as rig:
            client.delete(STREAM)
            client.set(STREAM, "not a stream")
            assert (await rig.post("during")).outcome == "refused"
            client.delete(STREAM)
            assert (await rig.post("after")).outcome == "ok"
            verdict = rig.judge()
            assert verdict.held, verdict.describe()


@pytest_twisted.ensureDeferred
async def test_a_full_stream_refuses_and_takes_again_when_there_is_room(own_server: Server) -> None:
    with own_server.client() as client:
        async with running_rig(own_server, hard_max=3) as rig:
            outcomes = [(await rig.post(f"{number}")).outcome for number in range(4)]
            assert outcomes == ["ok", "ok", "refused", "refused"]  # the marker is one of three
            client.xtrim(STREAM, maxlen=1, approximate=False)
            assert (await rig.post("after")).outcome == "ok"
            assert [each.description for each in read_stream(own_server)] == ["1", "after"]


@pytest_twisted.ensureDeferred
async def test_a_stream_that_was_deleted_is_created_with_its_marker_on_the_next_connection(own_server: Server) -> None:
    with own_server.client() as client:
        async with running_rig(own_server) as rig:
            client.delete(STREAM)
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: rig.connection.connects == 2)
            assert [fields for _, fields in client.xrange(STREAM)] == [{b"CreateStream": b"stream created"}]
