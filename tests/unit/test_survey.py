"""
Tests for L{eventsvc.redis.survey} on each server.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from eventsvc.measures import Measures
from eventsvc.redis import survey as surveying
from eventsvc.redis.scripts import dead_letters
from eventsvc.redis.survey import read_server, survey
from eventsvc.stream_state import ReplicaState, ServerState
from tests.support.processes import Server
from tests.support.real_connection import logged, ready, started

STREAM = "NotificationStream"
DEAD = "{NotificationStream}:dead"
EVENT = {b"EventStream": b"{}"}


@pytest_twisted.ensureDeferred
async def test_a_stream_is_told_with_all_its_groups(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            for _ in range(5):
                client.xadd(STREAM, EVENT)
            client.xadd(DEAD, EVENT)
            client.xgroup_create(STREAM, b"\xff", "0")
            client.xgroup_create(STREAM, "group", "0")
            client.xreadgroup("group", "one", {STREAM: ">"}, count=2)
            client.xreadgroup("group", "two", {STREAM: ">"}, count=1)
            state = await survey(connection, STREAM)
            now, _ = client.time()
            assert (state.length, state.dead, state.group_count, state.problems) == (5, 1, 2, [])
            assert abs(state.now - now) < 5
            group = state.find_group("group")
            assert group is not None
            assert (group.consumer_count, group.measures.pending) == (2, 3)
            assert group.measures.unread_age is not None
            assert group.measures.unread_age > 0
            assert group.consumers is not None
            assert [(each.name, each.pending) for each in group.consumers] == [("one", 2), ("two", 1)]
            assert all(0 <= each.idle < 5 for each in group.consumers)
            strange = state.find_group("\\xff")
            assert strange is not None
            assert (strange.measures.unread, strange.consumers) == (5, [])
            facts = client.info()
            assert state.server.version in (facts.get("valkey_version"), facts["redis_version"])
            assert (state.server.role, state.server.append_only, state.server.policy) == ("primary", True, "noeviction")
            assert (state.server.max_memory, state.server.replicas) == (0, [])
            assert state.server.memory is not None
            assert state.server.memory > 100_000


@pytest_twisted.ensureDeferred
async def test_without_a_stream_it_says_so(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            state = await survey(connection, STREAM)
            assert (state.length, state.dead, state.group_count) == (0, 0, None)
            assert state.problems == [f"there is no stream {STREAM}"]
            client.set(STREAM, "a")
            assert (await survey(connection, STREAM)).problems == [f"the key {STREAM} is no stream"]
            client.set(dead_letters(STREAM), "a")
            both = [f"the key {STREAM} is no stream", f"the key {{{STREAM}}}:dead is no stream"]
            assert sorted((await survey(connection, STREAM)).problems) == sorted(both)
            client.delete(STREAM)
            assert (await survey(connection, STREAM)).problems == [f"there is no stream {STREAM}", both[1]]


@pytest_twisted.ensureDeferred
async def test_what_may_not_be_asked_is_not_known(each_server: Server) -> None:
    """Nothing is logged for it."""
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            client.xgroup_create(STREAM, "group", "0", mkstream=True)
            client.execute_command("ACL", "SETUSER", "default", "-info", "-xlen", "-xpending")
            with logged() as was_logged:
                state = await survey(connection, STREAM)
                assert not was_logged("")
            assert (state.length, state.dead, state.server) == (None, None, ServerState(replicas=[]))
            assert "the user of Redis may not run INFO" in state.problems
            assert "the user of Redis may not run XLEN" in state.problems
            client.execute_command("ACL", "SETUSER", "default", "-xinfo")
            state = await survey(connection, STREAM)
            assert (state.groups, state.group_count) == ([], None)


@pytest_twisted.ensureDeferred
async def test_a_crowd_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "MOST_GROUPS", 3)
    monkeypatch.setattr(surveying, "MOST_CONSUMERS", 3)
    with server.client() as client:
        for number in range(5):
            client.xgroup_create(STREAM, f"group-{number}", "0", mkstream=True)
            for name in ("a", "b"):
                client.xgroup_createconsumer(STREAM, f"group-{number}", name)
    async with started(server.port) as connection:
        await ready(connection)
        state = await survey(connection, STREAM)
        assert state.group_count == 5
        assert [(each.consumer_count, each.consumers and len(each.consumers)) for each in state.groups] == [
            (2, 2),
            (2, 1),
            (2, None),
        ]
        assert all(
            each.measures == Measures(length=0, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
            for each in state.groups
        )


def test_replicas_are_read() -> None:
    """From the lines of INFO, as far as they have a known form."""
    server = read_server(
        b"# Replication\r\nrole:master\r\nconnected_slaves:2\r\nmaster_repl_offset:100\r\n"
        b"slave0:ip=10.0.0.1,port=6379,state=online,offset=60,lag=1,type=replica\r\nslave1:what\r\n"
        b"slave_read_only:1\r\n"
    )
    assert server.role == "primary"
    assert server.replicas == [ReplicaState("10.0.0.1:6379", "online", 1, 40), ReplicaState(":", "", 0, 100)]
