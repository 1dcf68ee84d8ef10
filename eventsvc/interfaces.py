"""
The contracts between packages: the event log, the group, the appender, the
handler, and the errors of their operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from eventsvc.consumer.page import PAGE_BYTES
from eventsvc.errors import KeyConflict, KeyRunning, KeysFull, QueueFull, Refused, StreamFull, TooLarge, Unknown
from eventsvc.event import Entry, Event, Notification
from eventsvc.measures import Measures
from eventsvc.memory import Memory
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
    A stream to which producers append batches with sequence numbers.

    Every operation fails only with L{Refused} or L{Unknown}.
    """

    def when_ready() -> Deferred[None]:
        """Fire once the log is connected; at once if it is."""

    def append(
        producer_id: bytes, sequence: int, submissions: Sequence[Submission], events: int, after: int | None = None
    ) -> Deferred[AppendReply]:
        """
        Append a batch at most once.

        @param producer_id: the only writer that uses these sequence numbers.
        @param sequence: 1 for the first batch of a producer id, then one more for
            each batch.  Repeating a sequence repeats its attempt, and the reply
            says whether the first one was applied.
        @param events: the events of all batches of the producer id, up to this one.
        @param after: the sequence that the log has kept, if it has forgotten these
            batches, the last of which is C{sequence}.  No limits apply to them.
        """

    def holds(entry_id: bytes, entry: bytes) -> Deferred[bool]:
        """Fire with whether the log holds this entry under this id, as far as that can be found out."""

    def renew(producer_id: bytes, sequence: int) -> Deferred[Renewal]:
        """
        Keep a producer id alive, and ask whether this is its last sequence.

        A renewal never changes a sequence, so a lost reply does no harm.

        @param sequence: the last sequence of the producer id; 0 before the first.
        """


@attrs.frozen
class Claimed:
    """
    A page of entries claimed from other consumers.

    @ivar cursor: start of the next page; C{0-0} after the last.
    @ivar trimmed: ids of entries that were removed from the stream while pending.
    """

    cursor: str
    entries: Sequence[Entry]
    trimmed: Sequence[str] = ()


class IEventGroup(Interface):
    """
    One consumer's view of a stream through its group.

    Every operation fails only with L{Refused} or L{Unknown}.  After either the
    caller starts again with L{open}.  On a new connection, all else does nothing and is L{Unknown}.
    """

    def open() -> Deferred[bool]:
        """
        Wait for a connection, and create the stream and the group if missing.

        Fires with C{True} if the group was created.  If it exists, nothing is
        written, so a server without free memory can still be read.
        """

    def read(count: int, block: float) -> Deferred[Sequence[Entry]]:
        """
        Read at most C{count} new entries.

        @param block: most seconds to wait for the first entry; 0 does not wait.
        """

    def read_pending(after: str, count: int, size: int = PAGE_BYTES) -> Deferred[Sequence[Entry]]:
        """
        Read at most C{count} pending entries of this consumer, and renew them as
        L{renew} does.  This does not count as a delivery.

        @param after: only entries with greater ids are read.
        @param size: bytes after which the page ends; it has at least one entry.
        """

    def list_pending(after: str, count: int) -> Deferred[Sequence[str]]:
        """List the ids of at most C{count} pending entries, without renewing them."""

    def claim(idle: float, cursor: str, count: int, size: int = PAGE_BYTES) -> Deferred[Claimed]:
        """
        Claim entries that were idle for C{idle} seconds.  This does not count as
        a delivery.

        @param size: bytes after which the page ends, as in L{read_pending}.
        """

    def count_delivery(ids: Sequence[str], deliveries: int) -> Deferred[None]:
        """Store the number of deliveries of entries, and renew them."""

    def renew(digests: Mapping[str, str]) -> Deferred[Sequence[str]]:
        """
        Reset the idle time of these entries, and fire with the ids of those that are not ours,
        or whose fields have another L{eventsvc.consumer.recent.digest_of}; empty fits all.
        """

    def acknowledge(ids: Sequence[str]) -> Deferred[None]:
        """Acknowledge these entries."""

    def set_aside(id: str, reason: str, error: str, deliveries: int) -> Deferred[bool]:
        """
        Move a pending entry to the dead letters and acknowledge it, atomically.

        Fires with C{False} if it is no longer pending with this consumer: it was
        acknowledged, or another consumer claimed it.
        """

    def interrupt() -> None:
        """Abort the operation in flight; it may have taken effect."""

    def release(ids: Sequence[str]) -> Deferred[None]:
        """Let other consumers claim these entries at once."""

    def remove_stale(idle: float) -> Deferred[Sequence[str]]:
        """Remove consumers without pending entries, unseen for C{idle} seconds."""

    def trim(max_len: int) -> Deferred[int]:
        """
        Remove some of the oldest entries beyond C{max_len} that every group has
        acknowledged.

        Fires with the number of removed entries; 0 means that none are left.
        """

    def memory() -> Deferred[Memory]:
        """Fire with the memory of the server; none is known if it does not report it."""

    def hold_name(token: str, lifetime: float) -> Deferred[float]:
        """
        Hold the name of this consumer for the process with this token, for C{lifetime} seconds.

        Fires with 0 if the process holds the name, else with the seconds for
        which the process with another token still holds it.
        """

    def leave(token: str) -> Deferred[bool]:
        """
        Remove this consumer from the group, unless it has pending entries, or another process holds its name.

        Fires with whether it was removed.

        @param token: that of this process, as for L{hold_name}.
        """

    def measure() -> Deferred[Measures]:
        """Measure the stream and the group."""


class Handler(Protocol):
    """
    Handles events for a consumer: a function, or an object that is called.

    An object may have C{handle} instead, or C{handle_batch}; see L{HandlerObject}
    and L{BatchHandler}.  Any of these may have C{start}, which is called before
    the first event, and C{stop}, after the last.
    """

    def __call__(self, notification: Notification, /) -> object:
        """
        Handle an event.

        The event is handled once this returns or, if it returns an awaitable
        (a coroutine, a Deferred, a Future where asyncio is the reactor), once
        that has finished.  The result is ignored.  But a returned Failure,
        generator, class, function or Future of a thread is a failure, because
        nobody would run it.

        @raise RetryAfter: deliver it again after a pause; no delivery is spent.
        @raise Reject: set it aside now.
        @raise Exception: the delivery failed.  The event is delivered again after
            a pause, and set aside after C{CONSUMER_MAX_DELIVERIES}.
        @raise SystemExit: drain, hand over and exit with status 1, as for
            C{KeyboardInterrupt}.  This event is delivered again.
        """


class HandlerObject(Protocol):
    """A handler with a method."""

    def handle(self, notification: Notification, /) -> object:
        """Handle an event: see L{Handler}."""


class BatchHandler(Protocol):
    """A handler that takes several events at once, at most C{batch_size}."""

    def handle_batch(self, notifications: list[Notification], /) -> object:
        """
        Handle events, which are in the order of the stream; return as L{Handler} does.

        @raise BatchFailed: those that it names failed; all others are handled.
        @raise RetryAfter: deliver all of them again after a pause.
        @raise Exception: the batch failed.  It is halved until the events are
            found that fail alone.
        """


class Waiting(Protocol):
    """Events that wait to be stored."""

    def abandon(self) -> None:
        """Report that no client waits for the result any more."""


class IAppender(Interface):
    """Takes events and stores them in the log."""

    backlog = Attribute("The L{eventsvc.producer.backlog.Backlog}: the queue of events that wait to be stored.")

    def give_up(events: Sequence[Event], keys: Sequence[IdempotencyKey]) -> Exception:
        """Count events that found no room in time, and return the error for their client."""

    def submit(
        events: Sequence[Event],
        keys: Sequence[IdempotencyKey],
        answer: Callable[[Waiting, Result], None],
        since: float | None = None,
    ) -> Waiting:
        """
        Store all of the events or none, and call C{answer} later with the
        returned object and the result: the ids of the events, or an error of
        L{begin_append}.

        After L{QueueFull}, either submit the events again when the backlog
        reports room, or L{give_up}.

        @param since: time of the first attempt, if this is not the first.
        @raise TooLarge: the request is larger than the whole queue.
        @raise KeyConflict: the key was used with another request.
        @raise KeyRunning: a request with the key is still running.
        @raise QueueFull: the queue has no room now.
        """

    def begin_append(
        events: Sequence[Event], keys: Sequence[IdempotencyKey], since: float | None = None
    ) -> Deferred[Sequence[int]]:
        """
        Store all of the events or none, and fire with their ids.

        Fails with L{Refused}, L{Unknown}, L{KeyConflict} or L{KeyRunning}, and
        raises at once what L{submit} raises.
        """
