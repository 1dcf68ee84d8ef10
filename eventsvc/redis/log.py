"""
The event log on a Redis stream, for the producer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.errors import RedisFull
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import IEventLog, Refused
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import Durability
from eventsvc.redis.scripts import companion, load_script
from eventsvc.redis.sent_batch import ID, SentBatch, write_keys
from eventsvc.redis.session import Argument, Session
from eventsvc.submission import ANY_BODY, DIGEST, AppendReply, BatchOutcome, Earlier, Kept, Renewal, Submission

#: Seconds for which a producer id is remembered after its last use.
PRODUCER_ID_TTL: Final = 7 * 86_400
#: The window of idempotency keys is divided into this many stretches, each with
#: its own hash.  Two more hashes exist: one being filled, one being forgotten.
_STRETCHES: Final = 4

#: The place of the number of different keys in the arguments of append.lua.
_DIFFERENT: Final = 7

#: In place of a limit that does not apply.
_NO_LIMIT: Final = 1 << 52

#: The outcomes that append.lua returns.
_OUTCOMES: Final = {outcome.name.encode(): outcome for outcome in BatchOutcome}

_log_of_streams: Final = Logger()
_OPEN: Final = load_script("open.lua")
_APPEND: Final = load_script("rights.lua", "append.lua")
_RENEW: Final = load_script("renew.lua")
_HOLDS: Final = load_script("holds.lua")


def stream_opener(*streams: str) -> Any:
    """
    Return the L{Connection.prepare} of a producer, which creates the streams that are missing.

    One of them must be usable.  If another is not, such as a key of another
    type, only its own events are refused.  A full server creates none, and may
    be used all the same: it refuses events for that reason, until it has room.
    """

    async def prepare(session: Session) -> None:
        opening = [session.run(_OPEN, [stream], [MARKER_FIELD, MARKER_VALUE]) for stream in streams]
        replies = await DeferredList(opening, consumeErrors=True)  # all at once: a handshake has little time
        problems = {stream: reply.value for stream, (is_open, reply) in zip(streams, replies) if not is_open}
        problems = {stream: problem for stream, problem in problems.items() if not isinstance(problem, RedisFull)}
        for problem in problems.values():
            if not isinstance(problem, Refused):
                raise problem
        if len(problems) == len(streams):
            raise problems[streams[0]]
        for stream, problem in problems.items():
            _log_of_streams.error("stream {stream} cannot be used: {problem}", stream=stream, problem=str(problem))

    return prepare


@implementer(IEventLog)
@attrs.frozen(eq=False)
class RedisEventLog:
    """
    Appends to a stream.

    @ivar hard_max: stream length at which nothing more is appended.
    @ivar window: the least seconds for which an idempotency key is remembered.
    @ivar max_keys: number of idempotency keys at which new ones are refused.
    @ivar durability: confirms batches; C{None}: the memory of the primary is enough.
    @ivar on_full: called when a batch is refused because the memory of Redis is full.
    """

    connection: Connection
    stream: str
    hard_max: int = 1_000_000
    window: float = 86_400.0
    max_keys: int = 1_000_000
    durability: Durability | None = None
    on_full: Callable[[], object] = attrs.field(default=lambda: None)
    _hashes: Sequence[bytes] = attrs.field(init=False)

    @_hashes.default
    def _name_hashes(self) -> Sequence[bytes]:
        return [companion(self.stream, "keys", f"{place}") for place in range(_STRETCHES + 2)]

    def when_ready(self) -> Deferred[None]:
        return self.connection.when_ready()

    def append(
        self,
        producer_id: bytes,
        sequence: int,
        submissions: Sequence[Submission],
        events: int,
        after: int | None = None,
    ) -> Deferred[AppendReply]:
        keys: list[Argument] = [self.stream, companion(self.stream, "lane", producer_id)]
        window = max(1, round(self.window * 1000))
        hard_max, max_keys = self.hard_max, self.max_keys
        if after is None:
            after = sequence - 1
        else:
            hard_max = max_keys = _NO_LIMIT
        arguments: list[Argument] = [sequence, after, PRODUCER_ID_TTL, hard_max, EVENT_FIELD, window, max_keys]
        arguments += (0, events)
        if [each for each in submissions if each.keys]:
            keys += self._hashes
            digests: set[bytes] = set()
            for each in submissions:
                entries, own = each.entries, each.keys
                if own:
                    arguments += (len(entries), len(own), write_keys(own, each.ids), *entries)
                    digests.update([key.digest for key in own])
                else:
                    arguments += (len(entries), 0, *entries)
            arguments[_DIFFERENT] = len(digests)
        elif submissions:  # all as one: all of them are stored, or none
            arguments += (sum([len(each.entries) for each in submissions]), 0)
            for each in submissions:
                arguments += each.entries
        session = self.connection.session
        appending: Deferred[AppendReply] = self.connection.run(_APPEND, keys, arguments)
        sent = SentBatch(session.command) if session is not None else None
        appending.addCallbacks(_read_reply, self._note_full, callbackArgs=(sent,))
        if self.durability is None or session is None:  # without a session nothing was sent
            return appending
        return appending.addCallback(self.durability.confirm, session)

    def _note_full(self, failure: Failure) -> Failure:
        if failure.check(RedisFull):
            self.on_full()
        return failure

    def renew(self, producer_id: bytes, sequence: int) -> Deferred[Renewal]:
        keys = [companion(self.stream, "lane", producer_id), *self._hashes]
        return self.connection.run(_RENEW, keys, [sequence, PRODUCER_ID_TTL]).addCallback(
            lambda reply: Renewal(known=bool(reply[0]), keys=reply[1], kept=Kept(int(reply[2]), int(reply[3])))
        )

    def holds(self, entry_id: bytes, entry: bytes) -> Deferred[bool]:
        return self.connection.run(_HOLDS, [self.stream], [entry_id, EVENT_FIELD, entry]).addCallback(bool)


def _read_reply(reply: Any, sent: SentBatch | None) -> AppendReply:
    outcome, passed, *more = reply
    if len(more) == 1 and not passed:  # nearly always
        return AppendReply(_OUTCOMES[outcome], last=more[0], sent=sent)
    last = more[0] if len(more) == 1 else b""
    kept = Kept(more[0], int(more[1])) if len(more) > 1 else Kept()
    return AppendReply(
        _OUTCOMES[outcome],
        {each[:DIGEST]: _read_record(each[DIGEST:]) for each in passed if len(each) > DIGEST},
        frozenset(each for each in passed if len(each) == DIGEST),
        kept,
        last,
    )


def _read_record(record: bytes) -> Earlier:
    if len(record) == ID.size:
        return Earlier(ANY_BODY, ID.unpack(record))
    ids = struct.unpack(f">{(len(record) - DIGEST) // ID.size}Q", record[DIGEST:])
    return Earlier(record[:DIGEST], ids)
