"""
Makes events from Python values, for programs that post them::

    from eventsvc.new_event import make_cloudevent, make_event

    make_event("order 17 is paid", type="order.paid", key="17", data={"cents": 4200})
    make_cloudevent(source="/shop", id="4711", type="order.paid", subject="order 17", data={"cents": 4200})
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from eventsvc.cloudevent import decode_structured
from eventsvc.event import Event, InvalidEvent
from eventsvc.event_message import decode_event


def make_event(description: str, *, type: str | None = None, key: str | None = None, data: object = None) -> Event:
    """
    Return an event.

    @param data: anything that JSON can express; C{None}: there is none.
    @raise InvalidEvent: a producer would refuse it.
    """
    return decode_event(_encode({"description": description, "type": type, "key": key, "data": data}))


def make_cloudevent(
    *, source: str, id: str, type: str, data: object = None, **attributes: str | bool | int | datetime
) -> Event:
    """
    Return a CloudEvent 1.0.

    @param source: with C{id} it identifies the event: what has both is the same
        event, and is stored once.
    @param data: C{bytes} become C{data_base64}, anything else JSON; C{None}: there is none.
    @param attributes: C{subject}, C{time}, C{datacontenttype}, C{dataschema},
        C{partitionkey} (the key of the event), and extensions.
    @raise InvalidEvent: a producer would refuse it.
    """
    members: dict[str, object] = {"specversion": "1.0", "id": id, "source": source, "type": type, **attributes}
    if isinstance(data, bytes):
        members["data_base64"] = data
    elif data is not None:
        members["data"] = data
    return decode_structured(_encode(members))


def _encode(members: dict[str, object]) -> bytes:
    try:
        return msgspec.json.encode(members)
    except (TypeError, ValueError, RecursionError) as error:  # such as half a surrogate pair, or a set of objects
        raise InvalidEvent(f"Expected values that JSON can express: {error}") from None
