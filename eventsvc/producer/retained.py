"""
The last batches that were confirmed: what Redis may yet forget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from math import inf
from typing import Final

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from eventsvc.event import with_id
from eventsvc.producer.backlog import PendingRequest
from eventsvc.producer.sequence import find_result, stores_all
from eventsvc.submission import AppendReply, BatchOutcome, Kept, Result, Submission

#: Bytes of memory, beside the bytes of entries: of a batch, of an entry, and of a request with keys.
_PER_BATCH: Final = 400
_PER_ENTRY: Final = 56
_PER_KEYED: Final = 400
_PER_KEY: Final = 200


class _Stored(Submission, gc=False):
    """A submission that was stored.  It has no cycles, and there may be very many."""


class RetainedBatch(msgspec.Struct, frozen=True, gc=False):
    """
    A confirmed batch.

    @ivar at: when it was confirmed, in seconds.
    @ivar total: the events of all batches up to this one.
    @ivar size: the bytes of memory it takes, nearly.
    """

    sequence: int
    at: float
    submissions: tuple[Submission, ...]
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
    @ivar lost: how many events are in older batches that are not retained.
    @ivar first: the first batch that is sent again.
    """

    sequence: int
    submissions: Sequence[Submission]
    events: int
    total: int
    lost: int
    first: int


@attrs.define(eq=False)
class Retained:
    """
    Keeps confirmed batches, within limits of time and memory.

    # Note [Age of what is retained]

    Only a confirmation makes a batch old: Redis had everything at that moment.
    While Redis is away nothing is dropped, however long it takes::

        Redis:   batch 7, its reply; it dies               a replica that has 6 is promoted
        us:                         ... an hour ...        7 again

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
    _dropped: float = attrs.field(default=-inf, init=False)

    @property
    def reach(self) -> float:
        """Seconds: what was confirmed since then can be given back."""
        return max(0.0, min(self.seconds, self.clock.seconds() - self._dropped))

    def keep(self, sent: Sequence[PendingRequest], reply: AppendReply, events: int) -> None:
        """Keep the requests of the next batch, with so many events, which the log has confirmed."""
        self.sequence += 1
        self.total += events
        stored = _as_sent(sent) if stores_all(reply) else _as_answered(sent, reply)
        size = _PER_BATCH + _PER_ENTRY * events
        for request in sent:
            size += request.size
            if request.keys:
                size += _PER_KEYED + _PER_KEY * len(request.keys)
        self._batches.append(RetainedBatch(self.sequence, self.clock.seconds(), stored, events, self.total, size))
        self.size += size
        self.mark_last(sent, reply)
        self.confirm()

    def mark_last(self, sent: Sequence[Submission], reply: AppendReply) -> None:
        """Set the mark, if the log has told where the last entry is."""
        if reply.last and stores_all(reply):
            self.mark = reply.last, sent[-1].entries[-1]

    def skip(self, sequence: int) -> None:
        """Use up the sequences up to this one."""
        while self.sequence < sequence:
            self.keep((), AppendReply(BatchOutcome.LOST), 0)

    def confirm(self) -> None:
        """Drop what is too old or too much, because the log has all batches at this moment."""
        oldest = self.clock.seconds() - self.seconds
        batches = self._batches
        while batches and (batches[0].at < oldest or self.size > self.limit):
            batch = batches.popleft()
            self.size -= batch.size
            if batch.events:
                self._dropped = batch.at

    def after(self, kept: Kept, most_events: int, most_bytes: int) -> Part:
        """
        Return the batches to send again first to a log that has kept so much.

        They are as many as one call may carry, and at least one if any are
        retained.  The log must have kept less than L{sequence}.
        """
        first = self._batches[0].sequence if self._batches else self.sequence + 1
        lost = 0
        if kept.sequence < first - 1:
            before = self._batches[0].total - self._batches[0].events if self._batches else self.total
            lost = max(0, before - kept.events)
        submissions: list[Submission] = []
        last: RetainedBatch | None = None
        events = size = 0
        for batch in islice(self._batches, max(0, kept.sequence + 1 - first), None):
            if last is not None and (events + batch.events > most_events or size + batch.size > most_bytes):
                break
            submissions += batch.submissions
            events += batch.events
            size += batch.size
            last = batch
        if last is None:
            return Part(self.sequence, (), 0, self.total, lost, first)
        return Part(last.sequence, submissions, events, last.total, lost, first)


def _as_sent(sent: Sequence[PendingRequest]) -> tuple[Submission, ...]:
    """Return what a log must append if it has forgotten this batch, all of which it had stored."""
    if len(sent) == 1:
        return (_copy(sent[0]),)
    stored: list[Submission] = []
    entries: list[bytes] = []
    for request in sent:
        if request.keys:
            if entries:
                stored.append(_Stored((), tuple(entries)))
                entries = []
            stored.append(_copy(request))
        else:
            entries += request.entries
    if entries:
        stored.append(_Stored((), tuple(entries)))
    return tuple(stored)


def _copy(request: PendingRequest) -> _Stored:
    """Return what a request stores, and nothing of its client."""
    return _Stored(request.ids, request.entries, request.keys)


def _as_answered(sent: Sequence[PendingRequest], reply: AppendReply) -> tuple[Submission, ...]:
    """Return what a log must append if it has forgotten this batch, so that every answer is true again."""
    stored = [_with_result(request, find_result(request, reply)) for request in sent]
    return tuple([submission for submission in stored if submission is not None])


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
        return _copy(request)
    entries = [with_id(entry, id) for entry, id in zip(request.entries, result)]
    return _Stored(result, tuple(entries), request.keys)
