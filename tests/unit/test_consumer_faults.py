"""
Tests for the consumer's guarantee on a real server with faults: every event
reaches a handler, and none is left pending.
"""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from eventsvc.event import EVENT_FIELD
from tests.support.processes import Server
from tests.support.producer_harness import STREAM, in_thread, until
from tests.support.readers import GROUP, add, left, running_reader


@pytest_twisted.ensureDeferred
async def test_a_consumer_whose_connection_is_killed_again_and_again_handles_every_event(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 1)
        async with running_reader(each_server) as reader:
            for first in range(0, 2_000, 40):
                await until(partial(reader.has_handled, first))
                add(client, first, 40)
                await in_thread(lambda: client.client_kill_filter(_type="normal", skipme=True))
            await until(lambda: len(reader.handled) == 2_000)
            await until(lambda: left(client) == (0, 0))


@pytest_twisted.ensureDeferred
async def test_a_server_killed_in_between_costs_no_event(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 500)
    async with running_reader(each_server) as reader:
        await until(lambda: len(reader.handled) >= 1)
        each_server.end(signal.SIGKILL)
        await in_thread(each_server.start)
        with each_server.client() as client:
            add(client, 500, 500)
            await until(lambda: len(reader.handled) == 1_000)
            await until(lambda: left(client) == (0, 0))


@pytest_twisted.ensureDeferred
async def test_a_group_destroyed_under_a_blocked_read_is_made_anew_with_an_alarm(each_server: Server) -> None:
    with each_server.client() as client, capturedLogs() as logs:
        add(client, 0, 10)
        async with running_reader(each_server) as reader:
            await until(lambda: len(reader.handled) == 10)
            client.xgroup_destroy(STREAM, GROUP)
            add(client, 10, 10)
            await until(lambda: len(reader.handled) == 20)
            assert reader.consumer.groups_recreated == 1
            assert reader.handled[0] == 2  # made anew at 0: what is still there comes again
    assert any("the consumer group was missing" in event["log_format"] for event in logs if event.get("log_format"))


@pytest_twisted.ensureDeferred
async def test_a_flushed_server_is_read_from_its_beginning(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 10)
        async with running_reader(each_server) as reader:
            await until(lambda: len(reader.handled) == 10)
            await in_thread(client.flushall)
            add(client, 10, 10)
            await until(lambda: len(reader.handled) == 20)


@pytest_twisted.ensureDeferred
async def test_flushed_scripts_are_sent_again(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 10)
        async with running_reader(each_server) as reader:
            await until(lambda: len(reader.handled) == 10)
            client.script_flush()
            client.xadd(STREAM, {"foreign": "entry"})  # set aside by a script
            add(client, 10, 10)
            await until(lambda: len(reader.handled) == 20)
            [(_, dead)] = client.xrange(f"{{{STREAM}}}:dead")
            assert dead[b"reason"] == b"malformed"


@pytest_twisted.ensureDeferred
async def test_what_a_stopped_consumer_could_not_finish_is_claimed_at_once(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 3)
        async with running_reader(each_server, "slow", lambda _: Deferred()) as slow:
            await until(lambda: slow.handled)
        assert left(client)[0] > 0
        async with running_reader(each_server, "quick", claim_idle=3600.0) as quick:
            await until(lambda: len(quick.handled) == 3)
            await until(lambda: left(client) == (0, 0))


@pytest_twisted.ensureDeferred
async def test_entries_of_a_dead_consumer_are_claimed_when_they_are_idle(each_server: Server) -> None:
    with each_server.client() as client:
        add(client, 0, 100)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=60)
        async with running_reader(each_server, claim_idle=0.2) as reader:
            await until(lambda: len(reader.handled) == 100)
            await until(lambda: left(client) == (0, 0))


@pytest_twisted.ensureDeferred
async def test_what_another_claimed_while_it_was_handled_is_not_handled_again(each_server: Server) -> None:
    handling: Deferred[None] = Deferred()
    with each_server.client() as client:
        add(client, 0, 1)
        async with running_reader(each_server, handler=lambda _: handling, claim_idle=0.5) as reader:
            await until(lambda: reader.handled)
            [row] = client.xpending_range(STREAM, GROUP, "-", "+", 1)
            client.xclaim(STREAM, GROUP, "absent", 0, [row["message_id"]], justid=True)
            await until(lambda: reader.consumer.in_flight.lost or reader.consumer.recovery.claimed)
            handling.callback(None)
            await until(lambda: left(client) == (0, 0))
            assert reader.handled == {0: 1}


@pytest_twisted.ensureDeferred
async def test_it_shares_the_group_with_a_foreign_consumer(each_server: Server) -> None:
    with each_server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        async with running_reader(each_server) as reader:
            foreign = set()
            for number in range(200):
                add(client, number, 1)
                for _, entries in client.xreadgroup(GROUP, "foreign", {STREAM: ">"}, count=1) or []:
                    for id, fields in entries:
                        foreign.add(json.loads(fields[EVENT_FIELD])["id"])
                        client.xack(STREAM, GROUP, id)
            await until(lambda: len(foreign) + len(reader.handled) == 200)
            await until(lambda: left(client) == (0, 0))
            assert foreign.isdisjoint(reader.handled)


@pytest_twisted.ensureDeferred
async def test_a_stop_gives_up_the_blocked_read(server: Server) -> None:
    """Otherwise the server would deliver the next event to a consumer that is gone."""
    with server.client() as client:
        async with running_reader(server) as reader:
            await until(lambda: any(b"xreadgroup" in each["cmd"].encode() for each in client.client_list()))
            await until(lambda: not reader.consumer.problem)
        add(client, 0, 1)
        assert client.xinfo_groups(STREAM)[0]["pending"] == 0
