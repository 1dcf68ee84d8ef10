"""
Makes events as a handler gets them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from eventsvc.event import Event, Notification, decode_notification, write_notification
from eventsvc.json_text import NOTHING


def make_notification(
    description: str,
    *,
    type: str | None = None,
    key: str | None = None,
    data: object = None,
    cloudevent: Mapping[str, object] | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    id: int = 1,
    timestamp: str = "1970-01-01T00:00:00.000000000Z",
) -> Notification:
    """
    Return an event as a handler gets it.

    @param data: anything that JSON can express; C{None}: there is none.
    @param cloudevent: the whole CloudEvent, its C{data} included.  One with all
        that follows from it is made by L{accept} of
        L{eventsvc.new_event.make_cloudevent}.
    """
    return Notification(
        id,
        description,
        timestamp,
        type=type,
        key=key,
        traceparent=traceparent,
        tracestate=tracestate,
        data_json=_to_json(data),
        cloudevent_json=_to_json(cloudevent),
    )


def accept(event: Event, *, id: int = 1, timestamp: str = "1970-01-01T00:00:00.000000000Z") -> Notification:
    """Return an event as a handler gets it once a producer has accepted it."""
    return decode_notification(write_notification(id, event, timestamp))


def _to_json(value: object) -> msgspec.Raw:
    return NOTHING if value is None else msgspec.Raw(msgspec.json.encode(value))
