"""
The event log on a Redis stream, for the one who appends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import AppendReply, Earlier, IdempotencyKey, IEventLog, Outcome, Submission
from eventsvc.redis.connection import Connection
from eventsvc.redis.scripts import companion, load_script
from eventsvc.redis.session import Argument, Session

#: Seconds a lane is remembered after its last use.
LANE_TTL: Final = 7 * 86_400


#: The words of append.lua.
_OUTCOMES: Final = {outcome.name.encode(): outcome for outcome in Outcome}

_OPEN: Final = load_script("open.lua")
_APPEND: Final = load_script("append.lua")
_RENEW: Final = load_script("renew.lua")


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
        keys: list[Argument] = [self.stream, companion(self.stream, "lane", lane)]
        arguments: list[Argument] = [number, LANE_TTL, self.hard_max, max(1, round(self.window)), EVENT_FIELD]
        for submission in submissions:
            place, record = 0, b""
            if submission.key is not None:
                keys.append(companion(self.stream, "key", submission.key.digest.hex()))
                place = len(keys)
                record = _write_record(submission.key, submission.ids)
            arguments += (len(submission.entries), place, record, *submission.entries)
        return self.connection.run(_APPEND, keys, arguments).addCallback(_read_reply)

    def renew(self, lane: bytes, number: int) -> Deferred[bool]:
        return self.connection.run(_RENEW, [companion(self.stream, "lane", lane)], [number, LANE_TTL]).addCallback(bool)


def _read_reply(reply: Any) -> AppendReply:
    outcome, records = reply
    return AppendReply(_OUTCOMES[outcome], dict(map(_read_record, records)))


def _write_record(key: IdempotencyKey, ids: Sequence[int]) -> bytes:
    """What is kept under an idempotency key: digest, fingerprint, ids."""
    return key.digest + key.fingerprint + struct.pack(f">{len(ids)}Q", *ids)


def _read_record(record: bytes) -> tuple[bytes, Earlier]:
    ids = struct.unpack(f">{(len(record) - 32) // 8}Q", record[32:])
    return record[:16], Earlier(record[16:32], ids)
