"""
What to do with an entry of the stream: pure decisions, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from eventsvc.event import (
    EVENT_FIELD,
    MARKER_FIELD,
    InvalidEvent,
    Notification,
    decode_notification,
)


@attrs.frozen
class Entry:
    """
    An entry of the stream, as a consumer is given it.

    @ivar fields: C{None} if the entry was trimmed while it was pending.
    @ivar deliveries: how often it was given to a handler, this time included.
    """

    id: str
    fields: Mapping[bytes, bytes] | None
    deliveries: int = 1


@attrs.frozen
class Handle:
    """Give the notification to the handler."""

    notification: Notification


@attrs.frozen
class PassOver:
    """Nothing to handle: acknowledge it."""


@attrs.frozen
class SetAside:
    """
    It cannot be handled: move it to the dead letters.

    @ivar reason: one of C{malformed}, C{trimmed}, C{failed}.
    """

    reason: str
    error: str


Action = Handle | PassOver | SetAside


def decide(entry: Entry) -> Action:
    """Say what an entry asks for."""
    if entry.fields is None:
        return SetAside("trimmed", "the entry was trimmed while it was pending")
    data = entry.fields.get(EVENT_FIELD)
    if data is None:
        if MARKER_FIELD in entry.fields:
            return PassOver()
        names = ", ".join(repr(name)[1:] for name in entry.fields)
        return SetAside("malformed", f"no field 'EventStream' among {names}")
    try:
        return Handle(decode_notification(data, entry.id))
    except InvalidEvent as error:
        return SetAside("malformed", str(error))
