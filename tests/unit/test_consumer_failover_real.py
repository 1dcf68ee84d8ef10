"""
Tests for what a consumer does after Redis went back in time, on real servers: the
stream is set back while its connection is cut.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from eventsvc.event import EVENT_FIELD, Notification, encode_notification
from tests.support.processes import Server
from tests.support.producer_harness import STREAM, in_thread, until
from tests.support.readers import GROUP, Reader, add, left, running_reader


def event(id: int) -> dict[bytes, bytes]:
    """Return the fields of an event."""
    return {EVENT_FIELD: encode_notification(Notification(id, f"{id}", "2025-02-25T22:06:25.4Z"))}


def go_back(client: Any, dump: bytes, *others: tuple[str, int]) -> None:
    """Set the stream and its group back, add other events under these ids, and cut all connections."""
    with client.pipeline(transaction=True) as pipe:
        pipe.restore(STREAM, 0, dump, replace=True)
        for entry, id in others:
            pipe.xadd(STREAM, event(id), entry)
        pipe.client_kill_filter(_type="normal", skipme=True)
        pipe.execute()


def deliveries(client: Any) -> dict[str, int]:
    """Return how often each pending entry was delivered."""
    rows = client.xpending_range(STREAM, GROUP, "-", "+", 100)
    return {row["message_id"].decode(): row["times_delivered"] for row in rows}


def alarms(logs: Any) -> list[str]:
    """Return the messages of errors and alarms."""
    return [event["log_format"] for event in logs if event["log_level"].name in ("error", "critical")]


@pytest_twisted.ensureDeferred
async def test_another_event_under_the_id_of_one_in_flight_is_handled(each_server: Server) -> None:
    """It is not acknowledged when the first is done, and has all of its deliveries."""
    ends: dict[int, Deferred[None]] = {}

    def handle(notification: Notification) -> Deferred[None]:
        return ends.setdefault(notification.id, Deferred())

    with each_server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        dump = client.dump(STREAM)
        async with running_reader(each_server, handler=handle, block=0.1) as reader:
            client.xadd(STREAM, event(1), "1-0")
            await until(lambda: 1 in ends)
            await in_thread(lambda: go_back(client, dump, ("1-0", 2), ("2-0", 3)))
            await until(lambda: reader.consumer.in_flight.lost)
            ends[1].callback(None)
            await until(lambda: 2 in ends)
            assert deliveries(client)["1-0"] == 1
            ends[2].callback(None)
            await until(lambda: 3 in ends)
            ends[3].callback(None)
            await until(lambda: left(client) == (0, 0))
            assert reader.handled == {1: 1, 2: 1, 3: 1}


@pytest_twisted.ensureDeferred
async def test_what_was_acknowledged_and_comes_again_is_not_handled_again(each_server: Server) -> None:
    """Be it pending again or unread; the same event under another id is, because no id of an entry proves that."""
    with each_server.client() as client, capturedLogs() as logs:
        async with running_reader(each_server, block=0.1) as reader:
            add(client, 0, 20)
            await until(lambda: len(reader.handled) == 20 and left(client) == (0, 0))
            client.xgroup_setid(STREAM, GROUP, client.xrange(STREAM)[9][0])
            client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=5)
            dump = client.dump(STREAM)  # 10 are handled, 5 are pending, 5 are unread
            client.xgroup_setid(STREAM, GROUP, "$")
            await in_thread(lambda: go_back(client, dump, ("*", 100), ("*", 7)))
            await until(lambda: 100 in reader.handled and left(client) == (0, 0))
            await until(lambda: reader.handled[7] == 2)
            assert reader.consumer.recovery.recognised == 10
            assert sum(reader.handled.values()) == 22
    assert alarms(logs) == []


async def demote(server: Server, client: Any, reader: Reader) -> None:
    """Make the server a replica of nobody until the consumer has noticed it, then a primary again."""
    await in_thread(lambda: client.replicaof("127.0.0.1", 1))
    await until(lambda: bool(reader.consumer.problem))
    assert server.is_up()
    await in_thread(lambda: client.replicaof("NO", "ONE"))


@pytest_twisted.ensureDeferred
async def test_a_demoted_primary_is_left_and_costs_no_event_and_no_delivery(each_server: Server) -> None:
    """Its answer to a read that waits is UNBLOCKED, to any other READONLY."""
    ends: dict[int, Deferred[None]] = {}

    def handle(notification: Notification) -> Deferred[None] | None:
        return ends.setdefault(notification.id, Deferred()) if notification.id >= 10 else None

    with each_server.client() as client, capturedLogs() as logs:
        async with running_reader(each_server, handler=handle) as reader:
            add(client, 0, 1)
            await until(lambda: len(reader.handled) == 1)
            await until(lambda: any(each["cmd"].startswith("xreadgroup") for each in client.client_list()))
            await demote(each_server, client, reader)
            add(client, 1, 1)
            await until(lambda: len(reader.handled) == 2)
            add(client, 10, 1)
            await until(lambda: 10 in ends)
            await demote(each_server, client, reader)
            await until(lambda: not reader.consumer.in_flight.in_doubt)
            assert list(deliveries(client).values()) == [1]
            ends[10].callback(None)
            await until(lambda: left(client) == (0, 0))
            assert set(reader.handled.values()) == {1}
    assert alarms(logs) == []


@pytest_twisted.ensureDeferred
async def test_a_paused_primary_is_left_at_the_deadline_of_its_replies(own_server: Server) -> None:
    """Also by a read that waits for events."""
    with own_server.client() as client:
        async with running_reader(own_server, block=0.1) as reader:
            add(client, 0, 1)
            await until(lambda: len(reader.handled) == 1)
            own_server.send(signal.SIGSTOP)
            await until(lambda: bool(reader.consumer.problem))
            own_server.send(signal.SIGCONT)
            add(client, 1, 1)
            await until(lambda: len(reader.handled) == 2)
            await until(lambda: left(client) == (0, 0))
