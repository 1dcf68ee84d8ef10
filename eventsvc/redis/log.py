"""
The event log on Redis Streams, for the one who appends and for the one who
reads through a group.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer

from eventsvc.delivery import Entry
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import AppendReply, Earlier, IdempotencyKey, IEventGroup, IEventLog, Outcome, Submission
from eventsvc.redis.connection import REPLY_TIMEOUT, Argument, Connection, ErrorReply, Script, Session

#: Seconds a lane is remembered after its last use.
LANE_TTL: Final = 7 * 86_400


def _script(name: str) -> Script:
    return Script(files("eventsvc.redis").joinpath(name).read_text(encoding="utf-8"))


_OPEN: Final = _script("open.lua")
_APPEND: Final = _script("append.lua")


def companion(stream: str, *names: str | bytes) -> bytes:
    """The key of something that belongs to the stream, in its hash slot."""
    parts = [name.encode() if isinstance(name, str) else name for name in names]
    return b":".join([b"{" + stream.encode() + b"}", *parts])


def stream_opener(stream: str) -> Any:
    """What a producer's connection does first: create the stream if it is missing."""

    async def prepare(session: Session) -> None:
        await session.run(_OPEN, [stream], [MARKER_FIELD, MARKER_VALUE])

    return prepare


@implementer(IEventLog)
@attrs.frozen(eq=False)
class RedisEventLog:
    """
    Appends to a stream.

    @ivar hard_max: entries in the stream past which nothing is appended.
    @ivar window: seconds an idempotency key is remembered.
    """

    connection: Connection
    stream: str
    hard_max: int = 1_000_000
    window: float = 86_400.0

    def when_ready(self) -> Deferred[None]:
        return self.connection.when_ready()

    def append(self, lane: bytes, number: int, submissions: Sequence[Submission]) -> Deferred[AppendReply]:
        return ensureDeferred(self._append(lane, number, submissions))

    async def _append(self, lane: bytes, number: int, submissions: Sequence[Submission]) -> AppendReply:
        keys: list[Argument] = [self.stream, companion(self.stream, "lane", lane)]
        arguments: list[Argument] = [number, LANE_TTL, self.hard_max, max(1, round(self.window)), EVENT_FIELD]
        for submission in submissions:
            place, record = 0, b""
            if submission.key is not None:
                keys.append(companion(self.stream, "key", submission.key.digest.hex()))
                place = len(keys)
                record = _write_record(submission.key, submission.ids)
            arguments += [len(submission.entries), place, record, *submission.entries]
        outcome, earlier = await self.connection.run(_APPEND, keys, arguments)
        return AppendReply(Outcome(outcome.decode().lower()), dict(map(_read_record, earlier)))


def _write_record(key: IdempotencyKey, ids: Sequence[int]) -> bytes:
    """What is kept under an idempotency key: digest, fingerprint, ids."""
    return key.digest + key.fingerprint + struct.pack(f">{len(ids)}Q", *ids)


def _read_record(record: bytes) -> tuple[bytes, Earlier]:
    ids = struct.unpack(f">{(len(record) - 32) // 8}Q", record[32:])
    return record[:16], Earlier(record[16:32], ids)


@implementer(IEventGroup)
@attrs.frozen(eq=False)
class RedisEventGroup:
    """Reads a stream as one consumer of a group."""

    connection: Connection
    stream: str
    group: str
    consumer: str

    def open(self) -> Deferred[bool]:
        return ensureDeferred(self._open())

    async def _open(self) -> bool:
        await self.connection.when_ready()
        try:
            await self.connection.call("XGROUP", "CREATE", self.stream, self.group, "0", "MKSTREAM")
        except ErrorReply as error:
            if error.code != "BUSYGROUP":
                raise
            return False
        return True

    def read(self, count: int, block: float) -> Deferred[Sequence[Entry]]:
        waiting: list[Argument] = ["BLOCK", max(1, round(block * 1000))] if block > 0 else []
        reply = self.connection.call(
            *("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count, *waiting),
            *("STREAMS", self.stream, ">"),
            timeout=block + REPLY_TIMEOUT,
        )
        return reply.addCallback(_read_entries)

    def read_pending(self, after: str, count: int) -> Deferred[Sequence[Entry]]:
        reply = self.connection.call(
            *("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count, "STREAMS", self.stream, after)
        )
        return reply.addCallback(_read_entries)

    def acknowledge(self, ids: Sequence[str]) -> Deferred[None]:
        reply = self.connection.call("XACK", self.stream, self.group, *ids)
        return reply.addCallback(lambda _: None)


def _read_entries(reply: Any) -> Sequence[Entry]:
    """The entries in a reply of XREADGROUP on one stream; none at all is C{None}."""
    if not reply:
        return ()
    return [Entry(name.decode(), _read_fields(fields)) for name, fields in reply[0][1]]


def _read_fields(fields: list[bytes] | None) -> dict[bytes, bytes] | None:
    return None if fields is None else dict(zip(fields[::2], fields[1::2], strict=True))
