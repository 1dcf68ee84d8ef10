"""
Reads what servers and services say of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, InvalidEvent, Notification, decode_notification, place_of

#: The alarms by which a service says that events may have been lost.
LOSSES: Final = frozenset({"lost", "group_recreated", "trimmed_pending"})


def read_entry(id: bytes, fields: Mapping[bytes, bytes]) -> Notification | None:
    """
    Return the event of an entry; C{None} for the marker.

    An entry that does not parse must be set aside.  It is returned as an event
    with a negative id, so that the checker follows it too.
    """
    if MARKER_FIELD in fields:
        return None
    try:
        return decode_notification(fields.get(EVENT_FIELD, b""), id.decode())
    except InvalidEvent:
        time, number = place_of(id.decode())
        return Notification(-(time * 1_000 + number), f"no event at {id.decode()}", "", id.decode())


def place_in_stream(id: bytes) -> tuple[int, int]:
    """Return the place of an entry in the stream."""
    return place_of(id.decode())
