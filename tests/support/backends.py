"""
Two backends for a stream, in memory and on a real server, with the same helper
methods, so that one test checks both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from chaos.suites import wait_until
from eventsvc.interfaces import IEventGroup, IEventLog
from eventsvc.memory import Memory
from eventsvc.redis.connection import Connection
from eventsvc.redis.group import RedisEventGroup
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.settings import RedisSettings
from eventsvc.tap.parts.connection import make_connection
from eventsvc.testing import Fate, Link, MemoryEventGroup, MemoryEventLog, MemoryStream
from eventsvc.testing.clock import run_clock
from eventsvc.testing.group import place_of
from eventsvc.testing.log import create_stream
from tests.support.processes import Server
from tests.support.producer_harness import until

T = TypeVar("T")

STREAM = "NotificationStream"


@attrs.define
class InMemory:
    """A stream in memory, on a fake clock."""

    clock: Clock = attrs.field(factory=Clock)
    stream: MemoryStream = attrs.field(init=False)
    links: list[Link] = attrs.field(factory=list)

    @stream.default
    def _make_stream(self) -> MemoryStream:
        return MemoryStream(self.clock)

    def _make_link(self) -> Link:
        self.links.append(Link(self.clock))
        return self.links[-1]

    async def log(self, hard_max: int = 1_000_000, window: float = 86_400.0, max_keys: int = 1_000_000) -> IEventLog:
        """Return a connected log, after creating the stream with its marker."""
        self.stream.hard_max, self.stream.window, self.stream.max_keys = hard_max, window, max_keys
        create_stream(self.stream)
        return MemoryEventLog(self.stream, self._make_link())

    async def group(self, name: str = "group", consumer: str = "consumer") -> IEventGroup:
        """Return a connected consumer of a group."""
        return MemoryEventGroup(self.stream, self._make_link(), name, consumer)

    async def wait(self, asking: Deferred[T]) -> T:
        """Return the result of an operation, or raise its error; it must end within a second."""
        run_clock(self.clock, 1.0)
        assert asking.called
        return await asking

    def disconnect(self) -> None:
        """Lose all connections for a while."""
        for link in self.links:
            link.cut()

    async def come_back(self) -> None:
        """Lose all connections, and reconnect."""
        self.disconnect()
        run_clock(self.clock, 1.0)
        create_stream(self.stream)

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Make all writes fail while the context lasts."""
        for link in self.links:
            link.fates = repeat(Fate.REFUSED)
        try:
            yield
        finally:
            for link in self.links:
                link.expect()

    def wipe(self) -> None:
        """Delete everything."""
        self.stream.wipe()

    def empty(self) -> None:
        """Remove all entries and nothing else."""
        self.stream.entries.clear()

    def forget(self, producer_id: bytes) -> None:
        """Delete a producer id and nothing else."""
        del self.stream.producer_ids[producer_id]

    def add(self, fields: dict[bytes, bytes], age: float = 0.0) -> str:
        """Add an entry of the given age in seconds, and return its id."""
        id = self.stream.add(fields)
        self.stream.times[place_of(id)] -= age
        return id

    def use_memory(self, share: float) -> None:
        """Set the share of the memory limit in use."""
        self.stream.memory = Memory(round(share * 1000), 1000) if share else Memory()

    def remove(self, *ids: str) -> None:
        """Remove entries, even if they are pending."""
        for id in ids:
            del self.stream.entries[place_of(id)]

    def entries(self) -> Sequence[dict[bytes, bytes]]:
        """Return the fields of all entries."""
        return list(self.stream.entries.values())

    def pending(self, group: str = "group") -> dict[str, tuple[str, int]]:
        """Return the owner and deliveries of each pending entry."""
        pending = self.stream.groups[group].pending
        return {f"{id}-0": (entry.consumer, entry.deliveries) for id, entry in sorted(pending.items())}

    def leave_idle(self, id: str, seconds: float) -> None:
        """Set the idle time of a pending entry."""
        self.stream.groups["group"].pending[place_of(id)].since = self.clock.seconds() - seconds

    def dead(self) -> Sequence[dict[str, str]]:
        """Return the dead letters."""
        return self.stream.dead

    def pass_window(self) -> None:
        """Let the window of the idempotency keys pass."""
        self.clock.advance(self.stream.window)

    def forget_keys(self) -> None:
        """Delete the idempotency keys and nothing else."""
        self.stream.keys.clear()

    def destroy_group(self, name: str) -> None:
        """Destroy a group, as somebody may by hand."""
        del self.stream.groups[name]


@attrs.define
class OnServer:
    """A stream on a real server, inspected by an independent client."""

    server: Server
    client: Any = attrs.field(init=False)
    connections: list[Connection] = attrs.field(factory=list)

    @client.default
    def _make_client(self) -> Any:
        return self.server.client()

    def leave(self) -> Deferred[Any]:
        """Close all connections."""
        self.client.close()
        return gatherResults([connection.stopService() for connection in self.connections])

    async def _connect(self, **more: Any) -> Connection:
        connection = make_connection(reactor, RedisSettings(port=self.server.port, retry_period=0.05), **more)
        self.connections.append(connection)
        connection.startService()
        await connection.when_ready()
        return connection

    async def log(self, hard_max: int = 1_000_000, window: float = 86_400.0, max_keys: int = 1_000_000) -> IEventLog:
        """Return a connected log, after creating the stream with its marker."""
        connection = await self._connect(prepare=stream_opener(STREAM))
        return RedisEventLog(connection, STREAM, hard_max, window, max_keys)

    async def group(self, name: str = "group", consumer: str = "consumer") -> IEventGroup:
        """Return a connected consumer of a group."""
        return RedisEventGroup(await self._connect(), STREAM, name, consumer)

    async def wait(self, asking: Deferred[T]) -> T:
        """Return the result of an operation, or raise its error."""
        return await asking

    def disconnect(self) -> None:
        """Lose all connections for a while."""
        for connection in self.connections:
            connection.abort("the test says so")

    async def come_back(self) -> None:
        """Lose all connections, and reconnect."""
        before = [connection.connects for connection in self.connections]
        self.disconnect()
        await until(lambda: all(was < one.connects for was, one in zip(before, self.connections)))

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Make all writes fail while the context lasts."""
        self.client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            self.client.config_set("maxmemory", 0)

    def wipe(self) -> None:
        """Delete everything."""
        self.client.flushall()

    def empty(self) -> None:
        """Remove all entries and nothing else."""
        self.client.xtrim(STREAM, 0)

    def forget(self, producer_id: bytes) -> None:
        """Delete a producer id and nothing else."""
        assert self.client.delete(b"{NotificationStream}:lane:" + producer_id) == 1

    def add(self, fields: dict[bytes, bytes], age: float = 0.0) -> str:
        """Add an entry of the given age in seconds, and return its id."""
        seconds, microseconds = self.client.time()
        id = f"{seconds * 1000 + microseconds // 1000 - round(age * 1000)}-*" if age else "*"
        return str(self.client.xadd(STREAM, fields, id).decode())

    def use_memory(self, share: float) -> None:
        """Set the share of the memory limit in use."""
        self.client.config_set("maxmemory", round(self.client.info("memory")["used_memory"] / share) if share else 0)

    def remove(self, *ids: str) -> None:
        """Remove entries, even if they are pending."""
        assert self.client.xdel(STREAM, *ids) == len(ids)

    def entries(self) -> Sequence[dict[bytes, bytes]]:
        """Return the fields of all entries."""
        return [fields for _, fields in self.client.xrange(STREAM)]

    def pending(self, group: str = "group") -> dict[str, tuple[str, int]]:
        """Return the owner and deliveries of each pending entry."""
        rows = self.client.xpending_range(STREAM, group, "-", "+", 10_000)
        return {row["message_id"].decode(): (row["consumer"].decode(), row["times_delivered"]) for row in rows}

    def leave_idle(self, id: str, seconds: float) -> None:
        """Set the idle time of a pending entry."""
        owner, _ = self.pending()[id]
        self.client.xclaim(STREAM, "group", owner, 0, [id], idle=round(seconds * 1000), justid=True)

    def dead(self) -> Sequence[dict[str, str]]:
        """Return the dead letters."""
        letters = [fields for _, fields in self.client.xrange("{NotificationStream}:dead")]
        return [
            {name: letter[name.encode()].decode() for name in ("id", "reason", "error", "deliveries")}
            for letter in letters
        ]

    def pass_window(self) -> None:
        """Let the window of the idempotency keys pass."""
        wait_until(lambda: not self.client.keys("{NotificationStream}:keys:*"))

    def forget_keys(self) -> None:
        """Delete the idempotency keys and nothing else."""
        self.client.delete(*self.client.keys("{NotificationStream}:keys:*"))

    def destroy_group(self, name: str) -> None:
        """Destroy a group, as somebody may by hand."""
        assert self.client.xgroup_destroy(STREAM, name) == 1


Backend = InMemory | OnServer


async def opened(backend: OnServer, consumer: str = "consumer") -> IEventGroup:
    """Return a consumer of a group, ready to read."""
    group = await backend.group(consumer=consumer)
    await group.open()
    return group
