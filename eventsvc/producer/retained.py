"""
The last batches that were confirmed: what Redis may yet forget.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, islice, pairwise
from math import inf
from operator import attrgetter
from typing import Final

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from eventsvc.event import with_id
from eventsvc.producer.backlog import PendingRequest
from eventsvc.producer.sequence import find_result, stores_all
from eventsvc.submission import DIGEST, AppendReply, IdempotencyKey, Kept, Result, Sent, Submission

#: Bytes of memory of a batch, beside those of its pieces; and with keys.
_PER_BATCH: Final = 450
_WITH_KEYS: Final = 250
#: Bytes of an entry, on average of its batch, from which on it takes an eighth more:
#: such entries leave gaps in the memory between them.
_LARGE: Final = 65_536


class _Packed(msgspec.Struct, frozen=True, gc=False):
    """
    Submissions that were stored, in few pieces of memory, and nothing of their clients.

    # Note [Few pieces]

    An encoder takes more memory than it needs and gives the rest back, in pieces too
    small for its next entry: kept as they are, entries take up to 1.4 times their
    bytes.  And each object is one more to free, long after it was last touched.

    @ivar sizes: the bytes of each entry.
    @ivar keys: digest and fingerprint of each key.  Without any, all are one submission.
    @ivar counts: of each submission the number of its entries, and of its keys, if there are keys.
    @ivar ids: the id of each entry, if there are keys.
    """

    entries: bytes
    sizes: array[int]
    keys: bytes = b""
    ids: Sequence[int] = ()
    counts: Sequence[int] = ()

    @classmethod
    def of(cls, submissions: Sequence[Submission]) -> _Packed:
        """Pack submissions; there must be at least one entry."""
        entries = [entry for each in submissions for entry in each.entries]
        keys = [key for each in submissions for key in each.keys]
        joined = b"".join(entries) if len(entries) > 1 else bytes(memoryview(entries[0]))
        sizes = array("I", list(map(len, entries)))
        if not keys:
            return cls(joined, sizes)
        counts = array("I", [count for each in submissions for count in (len(each.entries), len(each.keys))])
        ids = array("Q", [id for each in submissions for id in each.ids])
        return cls(joined, sizes, b"".join([key.digest + key.fingerprint for key in keys]), ids, counts)

    @property
    def size(self) -> int:
        """The bytes of memory it takes, nearly."""
        size = _PER_BATCH + len(self.entries) + 4 * len(self.sizes)
        if self.keys:
            size += _WITH_KEYS + len(self.keys) + 8 * len(self.ids) + 4 * len(self.counts)
        return size if size < _LARGE * len(self.sizes) else size + (size >> 3)

    def unpack(self) -> list[Submission]:
        """Return the submissions."""
        entries = iter([self.entries[begin:end] for begin, end in pairwise(accumulate(self.sizes, initial=0))])
        if not self.keys:
            return [Submission((), tuple(entries))]
        ids, keys = iter(self.ids), iter(range(0, len(self.keys), 2 * DIGEST))
        return [
            Submission(
                tuple(islice(ids, count)),
                tuple(islice(entries, count)),
                tuple([self._key(begin) for begin in islice(keys, of_keys)]),
            )
            for count, of_keys in zip(self.counts[::2], self.counts[1::2])
        ]

    def _key(self, begin: int) -> IdempotencyKey:
        middle = begin + DIGEST
        return IdempotencyKey(self.keys[begin:middle], self.keys[middle : middle + DIGEST])


class RetainedBatch(msgspec.Struct, frozen=True, gc=False):
    """
    A confirmed batch; one that stored nothing is not retained.

    @ivar at: when it was confirmed, in seconds.
    @ivar total: the events of all batches up to this one.
    @ivar size: the bytes of memory it takes, nearly.
    """

    sequence: int
    at: float
    packed: Sent
    events: int
    total: int
    size: int


@attrs.frozen
class Part:
    """
    Some batches to send again in one call.

    @ivar sequence: that of the last of them.
    @ivar events: how many they have.
    @ivar total: the events of all batches up to the last of them.
    @ivar lost: how many events are in older batches that are not retained; nearly, if some of the first of them were
        refused.
    @ivar lost_to: the last of these batches.
    """

    sequence: int
    submissions: Sequence[Submission]
    events: int
    total: int
    lost: int
    lost_to: int


@attrs.define(eq=False)
class Retained:
    """
    Keeps confirmed batches, within limits of time and memory.

    # Note [Age of what is retained]

    Only a confirmation makes a batch old: Redis had everything at that moment.
    While Redis is away nothing is dropped, however long it takes::

        Redis:   batch 7, its reply; it dies               a replica that has 6 is promoted
        us:                         ... an hour ...        7 again

    And the moment is that of the question: a process that was suspended reads
    the reply when it may no longer be true::

        us:      7 ->       8 ->    (suspended for a minute)                  <- 8: is 7 too old?
        Redis:        7          8                           goes back to 6

    @ivar seconds: how long a batch is kept at most, until a later confirmation.
    @ivar limit: bytes of memory that the batches may take.
    @ivar sequence: the last confirmed batch.
    @ivar total: the events of all confirmed batches.
    @ivar mark: id and text of the last entry whose id is known.
    """

    clock: IReactorTime
    seconds: float = 30.0
    limit: int = 67_108_864
    sequence: int = attrs.field(default=0, init=False)
    total: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=0, init=False)
    mark: tuple[bytes, bytes] | None = attrs.field(default=None, init=False)
    _batches: deque[RetainedBatch] = attrs.field(factory=deque, init=False)
    #: the last batch that was dropped: when it was confirmed, its
    #: sequence, and the events of all batches up to it
    _dropped: tuple[float, int, int] = attrs.field(default=(-inf, 0, 0), init=False)

    @property
    def reach(self) -> float:
        """Seconds: what was confirmed since then can be given back."""
        return max(0.0, min(self.seconds, self.clock.seconds() - self._dropped[0]))

    def keep(self, sent: Sequence[PendingRequest], reply: AppendReply, events: int, asked: float) -> None:
        """
        Keep the requests of the next batch, with so many events, which the log has confirmed.

        @param asked: when it was sent first, in seconds.
        """
        if stores_all(reply):
            packed = (reply.sent or _Packed.of(sent)) if events else None
        else:
            stored = _as_answered(sent, reply)
            events = sum([len(each.entries) for each in stored])
            packed = _Packed.of(stored) if events else None
        self.sequence += 1
        self.total = reply.kept.events or self.total + events  # another attempt may have had more
        if packed is not None:
            size = packed.size
            self._batches.append(RetainedBatch(self.sequence, self.clock.seconds(), packed, events, self.total, size))
            self.size += size
        self.mark_last(sent, reply)
        self.confirm(asked)

    def mark_last(self, sent: Sequence[Submission], reply: AppendReply) -> None:
        """Set the mark, if the log has told where the last entry is."""
        if reply.last and stores_all(reply):
            self.mark = reply.last, sent[-1].entries[-1]

    def skip(self, sequence: int) -> None:
        """Use up the sequences up to this one."""
        self.sequence = max(self.sequence, sequence)

    def confirm(self, asked: float) -> None:
        """Drop what is too old or too much, because the log had all batches when it was asked, or later."""
        oldest = asked - self.seconds
        batches = self._batches
        while batches and (batches[0].at < oldest or self.size > self.limit):
            batch = batches.popleft()
            self.size -= batch.size
            self._dropped = batch.at, batch.sequence, batch.total

    def after(self, kept: Kept, most_events: int, most_bytes: int) -> Part:
        """
        Return the batches to send again first to a log that has kept so much.

        They are as many as one call may carry, and at least one if any are
        retained.  The log must have kept less than L{sequence}.
        """
        _, dropped, dropped_total = self._dropped
        lost = max(1, dropped_total - kept.events) if kept.sequence < dropped else 0
        sequence, total = self.sequence, self.total
        submissions: list[Submission] = []
        events = size = 0
        begin = bisect_right(self._batches, kept.sequence, key=attrgetter("sequence"))
        for batch in islice(self._batches, begin, None):
            if events and (events + batch.events > most_events or size + batch.size > most_bytes):
                sequence, total = batch.sequence - 1, batch.total - batch.events
                break
            submissions += batch.packed.unpack()
            events += batch.events
            size += batch.size
        return Part(sequence, submissions, events, total, lost, dropped)


def _as_answered(sent: Sequence[PendingRequest], reply: AppendReply) -> Sequence[Submission]:
    """Return what a log must append if it has forgotten this batch, so that every answer is true again."""
    stored = [_with_result(request, find_result(request, reply)) for request in sent]
    return [submission for submission in stored if submission is not None]


def _with_result(request: PendingRequest, result: Result) -> Submission | None:
    """
    Return a submission that stores the events of which the client was told.

    # Note [Repeats are retained under their first ids]

    A repeat is answered with the ids of the first attempt, which another process
    may have made and no longer be there to give back.  The repeat gives back the
    same event under the same id and key, unless it is there already.
    """
    if isinstance(result, Exception):
        return None
    if result is request.ids:
        return request
    entries = tuple([with_id(entry, id) for entry, id in zip(request.entries, result)])
    return Submission(result, entries, request.keys)
