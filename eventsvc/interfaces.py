"""
The contracts between the rooms: what an event log is, and the outcomes an
operation on it can have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from eventsvc.consumer.page import PAGE_BYTES
from eventsvc.errors import KeyConflict, KeyRunning, KeysFull, QueueFull, Refused, StreamFull, TooLarge, Unknown
from eventsvc.event import Entry, Event, Notification
from eventsvc.submission import AppendReply, IdempotencyKey, Renewal, Result, Submission

__all__ = [
    "Claimed",
    "Handler",
    "IAppender",
    "IEventGroup",
    "IEventLog",
    "KeyConflict",
    "KeyRunning",
    "KeysFull",
    "Measures",
    "QueueFull",
    "Refused",
    "Result",
    "StreamFull",
    "TooLarge",
    "Unknown",
    "Waiting",
]


class IEventLog(Interface):
    """
    A stream that takes numbered batches.

    Every operation fails with L{Refused} or L{Unknown} and nothing else.
    """

    def when_ready() -> Deferred[None]:
        """Fire when an operation can be tried: at once, or once connected."""

    def append(producer_id: bytes, sequence: int, submissions: Sequence[Submission]) -> Deferred[AppendReply]:
        """
        Append a batch at most once.

        @param producer_id: names the one writer of these numbers.
        @param sequence: 1 for a producer id's first batch, and one more for each
            after.  The same sequence again asks what became of it.
        """

    def renew(producer_id: bytes, sequence: int) -> Deferred[Renewal]:
        """
        Keep a producer id alive, and ask whether its last sequence is this one; 0
        before the first.

        It is a question: whatever becomes of its reply, no sequence changes.
        """


@attrs.frozen
class Claimed:
    """
    A page of entries taken over from other consumers.

    @ivar cursor: where the next page begins; C{0-0} after the last.
    @ivar trimmed: entries that were pending and are gone from the stream.
    """

    cursor: str
    entries: Sequence[Entry]
    trimmed: Sequence[str] = ()


@attrs.frozen
class Measures:
    """
    How a stream and its group stand.

    @ivar unread_age: age of the oldest entry not yet delivered, in seconds.
    @ivar pending_age: age of the oldest entry not yet acknowledged, in seconds.
    """

    length: int
    dead: int
    pending: int
    unread_age: float
    pending_age: float


class IEventGroup(Interface):
    """
    One consumer's view of a stream through its group.

    Every operation fails with L{Refused} or L{Unknown} and nothing else;
    after either the caller starts again with L{open}.
    """

    def open() -> Deferred[bool]:
        """
        Wait for a connection and make sure of the stream and the group.

        Fires with C{True} if the group had to be created.  If it is there,
        nothing is written: a server without memory left can be read.
        """

    def read(count: int, block: float) -> Deferred[Sequence[Entry]]:
        """
        Read at most C{count} new entries, waiting at most C{block} seconds
        for the first; none is an empty answer.  0 does not wait.
        """

    def read_pending(after: str, count: int, size: int = PAGE_BYTES) -> Deferred[Sequence[Entry]]:
        """
        Take up at most C{count} entries that this consumer was given and has
        not acknowledged, with ids greater than C{after}: as L{renew}, without
        counting that as a delivery.

        @param size: bytes after which the page ends; one entry is always given.
        """

    def list_pending(after: str, count: int) -> Deferred[Sequence[str]]:
        """The ids of such entries, and nothing is done with them."""

    def claim(idle: float, cursor: str, count: int, size: int = PAGE_BYTES) -> Deferred[Claimed]:
        """
        Take over entries that nobody has touched for C{idle} seconds, without
        counting that as a delivery.

        @param size: bytes after which the page ends, as in L{read_pending}.
        """

    def count_delivery(id: str, deliveries: int) -> Deferred[None]:
        """Note how often an entry was delivered, and that it is in work."""

    def renew(ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """
        Say that these entries are in work, so that nobody claims them.

        Fires with those that have another owner by now.
        """

    def acknowledge(ids: Sequence[str]) -> Deferred[None]:
        """Say that these entries are done with."""

    def set_aside(id: str, reason: str, error: str, deliveries: int) -> Deferred[bool]:
        """
        Move a pending entry to the dead letters and acknowledge it, in one.

        Fires with C{False} if it is not pending with this consumer any more:
        it was acknowledged, or another consumer has claimed it.
        """

    def interrupt() -> None:
        """Give up whatever operation is under way; it may have taken effect."""

    def release(ids: Sequence[str]) -> Deferred[None]:
        """Let other consumers claim these entries at once."""

    def remove_stale(idle: float) -> Deferred[Sequence[str]]:
        """Remove consumers without pending entries, unseen for C{idle} seconds."""

    def trim(max_len: int) -> Deferred[int]:
        """
        Remove some of the oldest entries past C{max_len} that every group has
        acknowledged, and fire with how many; 0 means there are none.
        """

    def memory_used() -> Deferred[float]:
        """
        Fire with the share of its memory limit that the server uses, 1 when it
        is full; 0 if it has no limit or does not say.
        """

    def hold_name(token: str, lifetime: float) -> Deferred[float]:
        """
        Say for C{lifetime} seconds that the process of this token has the name
        of this consumer.

        Fires with 0 if it has; else with the seconds for which the process of
        another token still has it.
        """

    def measure() -> Deferred[Measures]:
        """See how the stream and the group stand."""


class Handler(Protocol):
    """
    What a consumer does with an event: a function, or an object that can be called.

    It may have a C{flush} without arguments: see L{FlushingHandler}.
    """

    def __call__(self, notification: Notification, /) -> object:
        """
        Handle an event.

        The event is handled once this returns; or, if it returns an awaitable
        (a coroutine, a Deferred, a Future where asyncio is the reactor), once
        that has ended.  What it returns is not kept, but these are a failure,
        since nobody would run them: a Failure, a generator, a class or a
        function, a Future of a thread.

        A failure is one failed delivery.  The event is delivered again after a
        pause, and set aside after C{CONSUMER_MAX_DELIVERIES}.

        @raise Exception: the delivery failed.
        @raise SystemExit: end the process in order, as does C{KeyboardInterrupt}:
            drain, hand over, exit with 1.  This event is delivered again.
        """


class FlushingHandler(Handler, Protocol):
    """A handler that does for several events together what it keeps back of each."""

    def flush(self) -> object:
        """
        Do what was kept back; return and raise as the handler does.

        Called before events are acknowledged; a failure is one of every event
        that was handled since the last time.
        """


class Waiting(Protocol):
    """Events that wait to be stored."""

    def abandon(self) -> None:
        """Say that nobody waits for the result any more."""


class IAppender(Interface):
    """Takes events in and sees them stored."""

    backlog = Attribute("The L{eventsvc.producer.backlog.Backlog} of what waits to be stored.")

    def give_up(events: Sequence[Event], key: IdempotencyKey | None) -> Exception:
        """Count events for which there was no room in time, and say what their client is told."""

    def submit(
        events: Sequence[Event],
        key: IdempotencyKey | None,
        answer: Callable[[Waiting, Result], None],
        since: float | None = None,
    ) -> Waiting:
        """
        Store all of the events or none, and call C{answer}, later, with what
        is returned here and the result: their ids, or an error as that of
        L{begin_append}.

        Raises L{TooLarge}, L{KeyConflict} or L{KeyRunning} if that is known at
        once, and L{QueueFull} if there is no room now: submit them again when
        the backlog has told of room, with C{since}, the time of the first
        attempt; or L{give_up}.
        """

    def begin_append(
        events: Sequence[Event], key: IdempotencyKey | None, since: float | None = None
    ) -> Deferred[Sequence[int]]:
        """
        Store all of the events or none, and fire with their ids.

        Fails with L{Refused}, L{Unknown}, L{KeyConflict} or L{KeyRunning}, and
        raises at once what L{submit} raises.
        """
