"""
Runs the parts of a producer on a real server, under load, and checks the result.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from eventsvc.event import EVENT_FIELD, Event, Notification, decode_notification
from eventsvc.interfaces import KeyRunning, Refused, Unknown
from eventsvc.outcome import Outcome
from eventsvc.producer.appender import Appender
from eventsvc.producer.backlog import Limits
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import Durability
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.settings import RedisSettings
from eventsvc.submission import IdempotencyKey
from eventsvc.tap.parts.connection import make_connection, new_producer_id
from eventsvc.testing.history import Expectations, History, Op, Verdict, check
from tests.support.processes import Server

STREAM = "NotificationStream"


async def pause(seconds: float) -> None:
    """Let the reactor run for a while, to pace a load; use L{until} to wait for something."""
    await deferLater(reactor, seconds)


async def until(what: Callable[[], object], patience: float = 30.0) -> None:
    """Wait until a condition is true, with the reactor running."""
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, f"not in {patience} s: {what}"
        await pause(0.01)


def read_stream(server: Server) -> list[Notification]:
    """Return all events in the stream, read by an independent client."""
    with server.client() as client:
        entries = client.xrange(STREAM)
    return [decode_notification(fields[EVENT_FIELD]) for _, fields in entries if EVENT_FIELD in fields]


@attrs.define(eq=False)
class ProducerHarness:
    """
    An appender on a real server, and the answers to its clients.

    @ivar working: number of clients that are still posting.
    """

    server: Server
    connection: Connection
    appender: Appender
    ops: list[Op] = attrs.field(factory=list)
    working: int = 0

    async def post(self, description: str, client: str = "client", key: IdempotencyKey | None = None) -> Op:
        """Post one event and record its outcome."""
        begin = time.monotonic()
        outcome = Outcome.OK
        id = None
        try:
            [id] = await self.appender.append([Event(description)], (key,) if key else ())
        except Refused:
            outcome = Outcome.REFUSED
        except (Unknown, KeyRunning):
            outcome = Outcome.UNKNOWN
        op = Op(client, len(self.ops), description, begin, time.monotonic(), outcome, id)
        self.ops.append(op)
        return op

    async def post_until_refused(self, description: str) -> None:
        """Post until an event is refused: one that is sent just before its deadline is unknown."""
        for number in range(10):
            outcome = (await self.post(f"{description} {number}")).outcome
            if outcome is Outcome.REFUSED:
                return
            assert outcome is Outcome.UNKNOWN
        raise AssertionError("no event is refused")

    async def _client(self, name: str, enough: Callable[[], bool], rest: float) -> None:
        for number in count():
            if enough():
                break
            await self.post(f"{name}-{number}", name)
            await pause(rest)
        self.working -= 1

    def load(self, clients: int, enough: Callable[[], bool], rest: float = 0.0) -> Deferred[Any]:
        """
        Begin to post: each client one event after another, C{rest} seconds
        apart, until it is enough.
        """
        self.working = clients
        return gatherResults([ensureDeferred(self._client(f"{each}", enough, rest)) for each in range(clients)])

    async def answered(self, events: int) -> None:
        """Wait until that many more events are answered, or all are."""
        target = len(self.ops) + events
        await until(lambda: len(self.ops) >= target or not self.working)

    def judge(self, **more: Any) -> Verdict:
        """Check the answers to clients against the stream."""
        expect = Expectations(least_ok=more.pop("least_ok", 1))
        return check(History(ops=self.ops, stream=read_stream(self.server), **more), expect)


@asynccontextmanager
async def running_producer(
    server: Server, hard_max: int = 1_000_000, durability: Durability | None = None, **limits: Any
) -> AsyncIterator[ProducerHarness]:
    """Run the parts of a producer."""
    settings = RedisSettings(port=server.port)
    demands: dict[str, Any] = {} if durability is None else {"find_problem": durability.find_problem}
    connection = make_connection(reactor, settings, prepare=stream_opener(STREAM), **demands)
    appender = Appender(
        event_log=RedisEventLog(connection, STREAM, hard_max, durability=durability),
        clock=reactor,
        new_id=lambda: random.getrandbits(63),
        new_producer_id=new_producer_id,
        wall_clock=time.time_ns,
        limits=Limits(**limits),
    )
    connection.startService()
    appender.start()
    try:
        await connection.when_ready()
        yield ProducerHarness(server, connection, appender)
    finally:
        appender.stop()
        await connection.stopService()


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run a blocking function in a thread while the load continues."""
    return await deferToThread(work)
