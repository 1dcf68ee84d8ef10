"""
Tests for the consumer's guarantee on a real server with faults: every event
reaches a handler, and none is left pending.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.chore import Chore
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, Notification, encode_notification
from eventsvc.redis.group import RedisEventGroup
from eventsvc.settings import RedisSettings
from eventsvc.tap.parts.connection import make_connection
from tests.support.processes import Server
from tests.support.producer_harness import STREAM, in_thread, until

GROUP = "demo_consumer_group"


@attrs.define
class Reader:
    """A consumer on a real server, and how often it handled each event."""

    consumer: Consumer
    handled: Counter[int]

    def has_handled(self, events: int) -> bool:
        return len(self.handled) >= events


@asynccontextmanager
async def running_reader(
    server: Server,
    name: str = "one",
    handler: Callable[[Notification], Any] | None = None,
    claim_idle: float = 30.0,
    max_len: int = 100_000,
) -> AsyncIterator[Reader]:
    """Run the parts of a consumer."""
    handled: Counter[int] = Counter()

    def handle(notification: Notification) -> Any:
        handled[notification.id] += 1
        return handler(notification) if handler else None

    connection = make_connection(reactor, RedisSettings(port=server.port))
    group = RedisEventGroup(connection, STREAM, GROUP, name)
    in_flight = InFlight(group=group, handler=BoundHandler(handle, reactor), clock=reactor, jitter=lambda: 0.5)
    consumer = Consumer(
        group=group,
        in_flight=in_flight,
        clock=reactor,
        claim_idle=claim_idle,
        drain_timeout=1.0,
        chores=[Chore(0.1, Retention(group, reactor, max_len).trim)],
    )
    connection.startService()
    consumer.startService()
    try:
        yield Reader(consumer, handled)
    finally:
        await consumer.stopService()
        await connection.stopService()


def add(client: Any, first: int, count: int) -> None:
    """Add events to the stream as a foreign producer does."""
    pipe = client.pipeline(transaction=False)
    for id in range(first, first + count):
        pipe.xadd(STREAM, {EVENT_FIELD: encode_notification(Notification(id, f"{id}", "2025-02-25T22:06:25.4Z"))})
    pipe.execute()


def left(client: Any) -> tuple[int, int]:
    """Return how many entries of the group are pending and unread; Redis 6.2 does not report the latter."""
    [group] = client.xinfo_groups(STREAM)
    return group["pending"], len(client.xrange(STREAM, f"({group['last-delivered-id'].decode()}"))


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
