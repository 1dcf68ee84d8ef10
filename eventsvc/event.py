"""
The two messages as values: the Event Message that a client posts and the
Notification Message in the stream.  Only this module decodes and encodes the
latter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from time import gmtime, strftime
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from eventsvc.json_text import NOTHING, explain, read_any

#: The most events and bytes in one request.
MAX_EVENTS: Final = 1_000
MAX_BYTES: Final = 1_048_576

#: The field of a stream entry that holds a notification, and the one that
#: marks the creation of the stream.
EVENT_FIELD: Final = b"EventStream"
MARKER_FIELD: Final = b"CreateStream"
MARKER_VALUE: Final = b"stream created"


class InvalidEvent(ValueError):
    """The bytes are not a valid event; the text says what is wrong and where."""


class TooManyEvents(ValueError):
    """A batch has more than L{MAX_EVENTS} events."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """
    An Event Message (EM): the request of a client to store an event.

    @ivar type: the kind of event.
    @ivar key: events with the same key are handled in their order.
    @ivar data: the JSON text of the payload.
    @ivar cloudevent: the JSON text of the CloudEvent that it is.
    @ivar identity: what it has in common with a repetition, and with no other
        event: C{source} and C{id} of a CloudEvent.
    @ivar traceparent: the W3C trace context of its request, as is C{tracestate}.
    """

    description: str
    type: str | None = None
    key: str | None = None
    data: Raw | None = None
    cloudevent: Raw | None = None
    identity: bytes | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class Notification(msgspec.Struct, frozen=True, gc=False):
    """
    A Notification Message (NM): an event as the stream has it.

    @ivar id: a random 63-bit integer.
    @ivar timestamp: when the producer accepted the event: RFC 3339, UTC, with
        nanoseconds.
    @ivar stream_id: the id of its entry; not part of the message.
    @ivar deliveries: number of deliveries to a handler that count, this one
        included; not part of the message.
    @ivar type: the kind of event.
    @ivar key: events with the same key are handled in their order.
    @ivar traceparent: the W3C trace context of the client, as is C{tracestate}.
    @ivar data_json: the JSON text of the member C{data} as it came, to be read
        with C{bytes()}; empty if there is none, as for a CloudEvent.
    @ivar cloudevent_json: the JSON text of L{cloudevent}.
    """

    id: int
    description: str
    timestamp: str
    stream_id: str = msgspec.field(default="", name="- stream_id")
    deliveries: int = msgspec.field(default=1, name="- deliveries")
    type: str | None = None
    key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    data_json: Raw = msgspec.field(default=NOTHING, name="data")
    cloudevent_json: Raw = msgspec.field(default=NOTHING, name="cloudevent")

    def __hash__(self) -> int:
        return hash((self.id, self.stream_id))

    @property
    def data(self) -> Any:
        """
        The payload, decoded; C{None} if there is none.

        That of a CloudEvent with C{data_base64} is C{bytes}.
        """
        if not bytes(self.cloudevent_json).startswith(b"{"):
            return read_any(self.data_json)
        payload = _payload_decoder.decode(self.cloudevent_json)
        return read_any(payload.data) if payload.data_base64 is None else payload.data_base64

    @property
    def cloudevent(self) -> Any:
        """The whole CloudEvent, decoded; C{None} if the event is none."""
        return read_any(self.cloudevent_json)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    An entry of the stream as a consumer reads it.

    @ivar fields: C{None} if the entry was trimmed while it was pending.
    @ivar deliveries: number of deliveries to a handler, this one included.
    @ivar again: whether it was read before, by this consumer or another, which
        may have crashed while handling it.
    """

    id: str
    fields: Mapping[bytes, bytes] | None
    deliveries: int = 1
    again: bool = False


#: What the id of an entry looks like; C{fullmatch} it.
_ENTRY_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


def is_entry_id(text: str) -> bool:
    """Return whether a text is the id of an entry that Redis accepts: two numbers of 64 bits."""
    return bool(_ENTRY_ID.fullmatch(text)) and max(place_of(text)) < 2**64


def place_of(id: str) -> tuple[int, int]:
    """Return the place of an entry in the stream."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)


class _Payload(msgspec.Struct):
    """The payload of a CloudEvent."""

    data: Raw = NOTHING
    data_base64: bytes | None = None


class _Bare(msgspec.Struct, frozen=True, gc=False):
    """An NM as it is written, with the members that each has: it is encoded in half of the time."""

    id: int
    description: str
    timestamp: str


class _Stored(_Bare, frozen=True, gc=False, omit_defaults=True):
    """An NM with others too."""

    type: str | None = None
    key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    data: Raw | None = None
    cloudevent: Raw | None = None


_notification_decoder: Final = msgspec.json.Decoder(Notification)
_payload_decoder: Final = msgspec.json.Decoder(_Payload)
_encoder: Final = msgspec.json.Encoder()


def decode_notification(data: bytes, stream_id: str = "", deliveries: int = 1) -> Notification:
    """
    Decode the NM of the entry C{stream_id}.

    @raise InvalidEvent: the bytes are not UTF-8, not JSON, or not an NM.
    """
    try:
        notification = _notification_decoder.decode(data)
        if notification.data_json is not NOTHING or notification.cloudevent_json is not NOTHING:
            data.decode()  # they are not decoded
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error)) from None
    force_setattr(notification, "stream_id", stream_id)
    if notification.deliveries != deliveries:
        force_setattr(notification, "deliveries", deliveries)
    return notification


def encode_notification(notification: Notification) -> bytes:
    """
    Encode an NM as JSON, with the members that it has: id, description and
    timestamp first.
    """
    data, cloudevent = [raw if bytes(raw) else None for raw in (notification.data_json, notification.cloudevent_json)]
    event = Event(
        notification.description,
        notification.type,
        notification.key,
        data,
        cloudevent,
        traceparent=notification.traceparent,
        tracestate=notification.tracestate,
    )
    return write_notification(notification.id, event, notification.timestamp)


def write_notifications(ids: Sequence[int], events: Sequence[Event], timestamp: str) -> tuple[bytes, ...]:
    """Encode the NMs of events."""
    if len(events) == 1:
        return (write_notification(ids[0], events[0], timestamp),)
    return tuple(
        [
            write_notification(id, event, timestamp)
            if event.cloudevent or event.type or event.key or event.data or event.traceparent
            else _encoder.encode(_Bare(id, event.description, timestamp))  # a call for each would take a tenth more
            for id, event in zip(ids, events)
        ]
    )


def write_notification(id: int, event: Event, timestamp: str) -> bytes:
    """Encode the NM of an event."""
    if not (event.cloudevent or event.type or event.key or event.data or event.traceparent or event.tracestate):
        return _encoder.encode(_Bare(id, event.description, timestamp))
    return _encoder.encode(
        _Stored(
            id,
            event.description,
            timestamp,
            event.type,
            event.key,
            event.traceparent,
            event.tracestate,
            event.data,
            event.cloudevent,
        )
    )


def with_id(entry: bytes, id: int) -> bytes:
    """Return an NM of ours with another id, which is its first member."""
    return b'{"id":%d' % id + entry[entry.index(b",") :]


_BILLION: Final = 1_000_000_000
_begin: int = 0
_second: str = "1970-01-01T00:00:00"


def format_timestamp(nanoseconds: int) -> str:
    """
    Format nanoseconds since the epoch as RFC 3339 in UTC.

    The text of the last second is cached, because formatting it costs more than
    everything else about an event.
    """
    global _begin, _second
    rest = nanoseconds - _begin
    if not 0 <= rest < _BILLION:
        seconds, rest = divmod(nanoseconds, _BILLION)
        _begin = nanoseconds - rest
        _second = strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))
    return f"{_second}.{str(rest).zfill(9)}Z"
