"""
Consumers on a real server, from their parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet import reactor

from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, Notification, encode_notification
from eventsvc.redis.group import RedisEventGroup
from eventsvc.settings import RedisSettings
from eventsvc.tap.parts.connection import make_connection
from tests.support.processes import Server
from tests.support.producer_harness import STREAM

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
    block: float = 5.0,
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
        block=block,
        drain_timeout=1.0,
        chores=[Retention(group, reactor, max_len).chore],
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
