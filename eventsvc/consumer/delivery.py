"""
What to do with an entry of the stream: pure decisions, no I/O.
"""

from __future__ import annotations

import attrs

from eventsvc.event import (
    EVENT_FIELD,
    MARKER_FIELD,
    Entry,
    InvalidEvent,
    Notification,
    decode_notification,
)


@attrs.frozen
class PassOver:
    """Acknowledge it: there is nothing to handle."""


@attrs.frozen
class Retry:
    """
    Give it to the handler again.

    @ivar after: seconds from now.
    """

    after: float


@attrs.frozen
class SetAside:
    """
    It cannot be handled: move it to the dead letters.

    @ivar reason: one of C{malformed}, C{trimmed}, C{failed}, C{rejected}.
    """

    reason: str
    error: str


#: A notification is for the handler.
Action = Notification | PassOver | SetAside


def decide(entry: Entry, max_deliveries: int) -> Action:
    """
    Return what to do with an entry.

    Redis counts a delivery when an entry is read, and the consumer counts one
    each time it calls a handler again.  An entry that was read before may never
    have reached a handler, so it gets one delivery more.
    """
    if entry.again and entry.deliveries > max_deliveries + 1:
        return SetAside("failed", f"given up after {entry.deliveries - 1} deliveries that did not end")
    if entry.fields is None:
        return SetAside("trimmed", "the entry was trimmed while it was pending")
    data = entry.fields.get(EVENT_FIELD)
    if data is None:
        if MARKER_FIELD in entry.fields:
            return PassOver()
        names = ", ".join(repr(name)[1:] for name in entry.fields)
        return SetAside("malformed", f"no field 'EventStream' among {names}")
    try:
        return decode_notification(data, entry.id, entry.deliveries)
    except InvalidEvent as error:
        return SetAside("malformed", str(error))


def after_failure(
    deliveries: int, max_deliveries: int, error: str, jitter: float, overdue: bool = True
) -> Retry | SetAside:
    """
    Return what follows a failed delivery.

    @param deliveries: number of deliveries, including this one.
    @param jitter: from 0 to 1.
    @param overdue: whether the event has failed for as long as it may.
    """
    if deliveries >= max_deliveries and overdue:
        return SetAside("failed", error)
    return Retry(min(0.1 * 2.0 ** min(deliveries - 1, 10), 10.0) * (0.5 + 0.5 * jitter))


@attrs.define
class Pace:
    """
    How many entries to read at once: as many as are handled in C{span} seconds.

    It starts small and at most doubles, so that few entries wait behind a
    handler that turns out to be slow.
    """

    span: float
    least: int = 1
    most: int = 1_000
    size: int = attrs.field(init=False)

    @size.default
    def _begin_small(self) -> int:
        return self.least

    def observe(self, handled: int, seconds: float) -> None:
        """Adapt to the time that handling C{handled} entries took."""
        affordable = self.span * handled / seconds if seconds > 0 else self.most
        self.size = max(self.least, int(min(self.size * 2, affordable, self.most)))
