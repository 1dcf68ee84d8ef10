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
    """Nothing to handle: acknowledge it."""


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

    @ivar reason: one of C{malformed}, C{trimmed}, C{failed}.
    """

    reason: str
    error: str


#: A notification is for the handler.
Action = Notification | PassOver | SetAside


def decide(entry: Entry, max_deliveries: int) -> Action:
    """
    Say what an entry asks for.

    Redis counts a delivery when an entry is read, and we count one each time a
    handler begins with it again.  An entry that was read before, but perhaps
    never begun with, is given the benefit of that doubt.
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
        return decode_notification(data, entry.id)
    except InvalidEvent as error:
        return SetAside("malformed", str(error))


def after_failure(deliveries: int, max_deliveries: int, error: str, jitter: float) -> Retry | SetAside:
    """
    Say what follows a failed delivery.

    @param deliveries: how many there were, this one included.
    @param jitter: from 0 to 1.
    """
    if deliveries >= max_deliveries:
        return SetAside("failed", error)
    return Retry(min(0.1 * 2.0 ** min(deliveries - 1, 10), 10.0) * (0.5 + 0.5 * jitter))


@attrs.define
class Pace:
    """
    How many entries to read at once: what is handled in C{span} seconds.

    It begins small and at most doubles, so that a slow handler is found out
    before much waits behind it.
    """

    span: float
    least: int = 1
    most: int = 1_000
    size: int = attrs.field(init=False)

    @size.default
    def _begin_small(self) -> int:
        return self.least

    def observe(self, handled: int, seconds: float) -> None:
        """Learn from so many entries handled in so many seconds."""
        affordable = self.span * handled / seconds if seconds > 0 else self.most
        self.size = max(self.least, int(min(self.size * 2, affordable, self.most)))
