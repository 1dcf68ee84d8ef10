"""
The contents of Redis, in memory, and the log that appends to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import IEventLog, Refused
from eventsvc.memory import Memory
from eventsvc.submission import AppendReply, BatchOutcome, Earlier, Kept, Renewal, Submission
from eventsvc.testing.link import Link


@attrs.define
class Pending:
    """An entry that was delivered to a consumer and is not acknowledged."""

    consumer: str
    since: float
    deliveries: int = 1


@attrs.define
class Group:
    """The state of a group."""

    last: int = -1
    pending: dict[int, Pending] = attrs.field(factory=dict)
    #: when each consumer was last seen
    consumers: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen
class _Batch:
    """The last batch of a producer id."""

    sequence: int = 0
    events: int = 0
    reply: AppendReply = attrs.field(factory=lambda: AppendReply(BatchOutcome.APPENDED))


@attrs.frozen
class _Applied:
    """
    One append, with what is needed to undo it.

    @ivar first: position of its first entry.
    @ivar kept: the state of the producer id before it.
    @ivar digests: the keys it stored.
    """

    first: int
    producer_id: bytes
    kept: _Batch | None
    digests: Sequence[bytes]


@attrs.define(eq=False)
class MemoryStream:
    """
    The contents of Redis: entries, groups, producer ids, keys and dead letters.

    An entry's id is its position, counted from 1: C{7-0}.

    @ivar window: seconds for which an idempotency key is remembered.
    @ivar max_keys: the most idempotency keys that are remembered.
    @ivar times: when each entry was added.
    @ivar keys: when each key expires, and the request it belongs to.
    @ivar has_rights: whether its user may run every command of an append.
    @ivar lag: number of appends that L{roll_back} undoes.
    @ivar names: by group and consumer, the process that holds the name, and
        until when.
    @ivar memory: the memory in use.
    """

    clock: IReactorTime
    hard_max: int = 1_000_000
    window: float = 86_400.0
    max_keys: int = 1_000_000
    entries: dict[int, dict[bytes, bytes]] = attrs.field(factory=dict)
    times: dict[int, float] = attrs.field(factory=dict)
    groups: dict[str, Group] = attrs.field(factory=dict)
    producer_ids: dict[bytes, _Batch] = attrs.field(factory=dict)
    keys: dict[bytes, tuple[float, Earlier]] = attrs.field(factory=dict)
    dead: list[dict[str, str]] = attrs.field(factory=list)
    has_rights: bool = True
    lag: int = 1
    _applied: list[_Applied] = attrs.field(factory=list)
    names: dict[tuple[str, str], tuple[str, float]] = attrs.field(factory=dict)
    memory: Memory = attrs.field(factory=Memory)
    _next: int = 1
    _watchers: list[Deferred[None]] = attrs.field(factory=list)

    def add(self, fields: dict[bytes, bytes]) -> str:
        """Append an entry, as a plain XADD would."""
        place, self._next = self._next, self._next + 1
        self.entries[place] = fields
        self.times[place] = self.clock.seconds()
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)
        return f"{place}-0"

    def wipe(self) -> None:
        """Lose everything, as FLUSHALL does."""
        self.entries.clear()
        self.groups.clear()
        self.producer_ids.clear()
        self.keys.clear()
        self.dead.clear()
        self._applied.clear()

    def roll_back(self) -> None:
        """Undo the last appends, as a failover to a replica that lags does.  Their ids are used again."""
        for _ in range(min(self.lag, len(self._applied))):
            last = self._applied.pop()
            for place in range(last.first, self._next):
                self.entries.pop(place, None)
                self.times.pop(place, None)
            self._next = last.first
            for digest in last.digests:
                self.keys.pop(digest, None)
            if last.kept is None:
                self.producer_ids.pop(last.producer_id, None)
            else:
                self.producer_ids[last.producer_id] = last.kept

    def payloads(self) -> list[bytes]:
        """Return the events in stream order."""
        return [fields[EVENT_FIELD] for fields in self.entries.values() if EVENT_FIELD in fields]

    def when_added(self) -> Deferred[None]:
        watcher: Deferred[None] = Deferred()
        self._watchers.append(watcher)
        return watcher

    def append(
        self,
        producer_id: bytes,
        sequence: int,
        submissions: Iterable[Submission],
        events: int,
        after: int | None = None,
    ) -> AppendReply:
        """Append a batch as append.lua does."""
        last = self.producer_ids.get(producer_id, _Batch())
        if last.sequence == sequence:
            outcome = BatchOutcome.FULL if last.reply.outcome is BatchOutcome.FULL else BatchOutcome.DUPLICATE
            return replace(last.reply, outcome=outcome, kept=Kept(last.sequence, last.events), last=b"")
        if last.sequence != (sequence - 1 if after is None else after):
            return AppendReply(BatchOutcome.LOST, kept=Kept(last.sequence, last.events))
        full = after is None and len(self.entries) >= self.hard_max
        batch = list(submissions)
        self._forget_keys()
        digests = {key.digest for submission in batch for key in submission.keys}
        earlier = {digest: self.keys[digest][1] for digest in digests if digest in self.keys}
        new, no_room = self._find_room([] if full else batch, has_limit=after is None)
        self.check_rights()
        self._applied.append(_Applied(self._next, producer_id, self.producer_ids.get(producer_id), new))
        before = self._next
        for submission in batch if not full else ():
            earlier |= self._add_events(submission, earlier, no_room)
        id = b"%d-0" % (self._next - 1) if self._next > before else b""
        reply = AppendReply(BatchOutcome.FULL if full else BatchOutcome.APPENDED, earlier, no_room, last=id)
        self._keep(producer_id, _Batch(sequence, last.events if full else events, reply))
        return reply

    def _find_room(self, batch: Sequence[Submission], has_limit: bool) -> tuple[list[bytes], frozenset[bytes]]:
        """Return the new digests for which there is room, and those for which there is none."""
        room = self.max_keys - len(self.keys)
        new: list[bytes] = []
        no_room: set[bytes] = set()
        for submission in batch:
            own = [key.digest for key in submission.keys if key.digest not in self.keys and key.digest not in no_room]
            if len(new) + len(own) <= room or not has_limit:
                new += own
            else:
                no_room.update(own)
        return new, frozenset(no_room)

    def _add_events(
        self, submission: Submission, earlier: dict[bytes, Earlier], no_room: frozenset[bytes]
    ) -> dict[bytes, Earlier]:
        """Add the events whose keys are not known, remember those, and return the keys that come twice."""
        keys, twice = submission.keys, {}
        has_one_each = len(keys) == len(submission.entries)
        is_first = bool(keys) and keys[0].digest not in self.keys
        for index, entry in enumerate(submission.entries):
            key = (keys[index] if has_one_each else keys[0]) if keys else None
            if key is None:
                self.add({EVENT_FIELD: entry})
            elif key.digest in earlier or key.digest in no_room:
                continue
            elif key.digest not in self.keys:
                known = Earlier(key.fingerprint, submission.ids if len(keys) == 1 else (submission.ids[index],))
                self.keys[key.digest] = (self.clock.seconds() + self.window, known)
                self.add({EVENT_FIELD: entry})
            elif has_one_each or not is_first:
                twice[key.digest] = self.keys[key.digest][1]
            else:
                self.add({EVENT_FIELD: entry})
        return twice

    def renew(self, producer_id: bytes, sequence: int) -> Renewal:
        """Check a sequence as renew.lua does."""
        self._forget_keys()
        last = self.producer_ids.get(producer_id, _Batch())
        return Renewal(last.sequence == sequence, len(self.keys), Kept(last.sequence, last.events))

    def holds(self, entry_id: bytes, entry: bytes) -> bool:
        """Check an entry as holds.lua does."""
        return self.entries.get(int(entry_id.partition(b"-")[0]), {}).get(EVENT_FIELD) == entry

    def _forget_keys(self) -> None:
        now = self.clock.seconds()
        self.keys = {digest: (end, known) for digest, (end, known) in self.keys.items() if end > now}

    def check_rights(self) -> None:
        """Raise L{Refused} before the first write if a later command would be refused."""
        if not self.has_rights:
            raise Refused("the user may not run this")

    def _keep(self, producer_id: bytes, batch: _Batch) -> None:
        if not self.has_rights:
            raise Refused("the user may not keep a sequence")
        self.producer_ids[producer_id] = batch


@implementer(IEventLog)
@attrs.frozen(eq=False)
class MemoryEventLog:
    """Appends to a L{MemoryStream}."""

    stream: MemoryStream
    link: Link

    def when_ready(self) -> Deferred[None]:
        return self.link.when_ready()

    def append(
        self,
        producer_id: bytes,
        sequence: int,
        submissions: Sequence[Submission],
        events: int,
        after: int | None = None,
    ) -> Deferred[AppendReply]:
        batch = list(submissions)
        return self.link.carry("append", lambda: self.stream.append(producer_id, sequence, batch, events, after))

    def renew(self, producer_id: bytes, sequence: int) -> Deferred[Renewal]:
        return self.link.carry("renew", lambda: self.stream.renew(producer_id, sequence))

    def holds(self, entry_id: bytes, entry: bytes) -> Deferred[bool]:
        return self.link.carry("holds", lambda: self.stream.holds(entry_id, entry))


def create_stream(stream: MemoryStream) -> None:
    """Create the stream and its marker if missing, as open.lua does."""
    if not stream.entries:
        stream.add({MARKER_FIELD: MARKER_VALUE})
