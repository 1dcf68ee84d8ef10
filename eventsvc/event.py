"""
The two messages as values: the Event Message that a client posts and the
Notification Message in the stream.  Only this module decodes and encodes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import gmtime, strftime
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

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


class Event(msgspec.Struct, frozen=True):
    """An Event Message (EM): the request of a client to store an event."""

    description: str


#: The JSON text of a member that is not there.
NOTHING: Final = msgspec.Raw()


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
    @ivar traceparent: the W3C trace context of the client.
    @ivar data_json: the JSON text of L{data} as it came, to be read with
        C{bytes()}; empty if there is none.
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
    data_json: msgspec.Raw = msgspec.field(default=NOTHING, name="data")
    cloudevent_json: msgspec.Raw = msgspec.field(default=NOTHING, name="cloudevent")

    def __hash__(self) -> int:
        return hash((self.id, self.stream_id))

    @property
    def data(self) -> Any:
        """The payload, decoded; C{None} if there is none."""
        return _decode_raw(self.data_json)

    @property
    def cloudevent(self) -> Any:
        """The whole CloudEvent, decoded; C{None} if the event is none."""
        return _decode_raw(self.cloudevent_json)


def _decode_raw(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw) if bytes(raw) else None


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


class _Wire(msgspec.Struct, frozen=True):
    id: int
    description: str
    timestamp: str


_BLANK: Final = b" \t\r\n"  # JSON's white space

_event_decoder: Final = msgspec.json.Decoder(Event)
_events_decoder: Final = msgspec.json.Decoder(list[Event])
_notification_decoder: Final = msgspec.json.Decoder(Notification)
_encoder: Final = msgspec.json.Encoder()


def decode_event(body: bytes, line: int | None = None) -> Event:
    """
    Decode one EM.

    @param line: line number of the bytes, for the error text.
    @raise InvalidEvent: the bytes are not UTF-8, not JSON, or not an EM.
    """
    try:
        body.decode()  # ignored members must be UTF-8 too
        return _event_decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(_explain(error, line)) from None


def decode_events(body: bytes) -> Sequence[Event]:
    """
    Decode a batch: a JSON array of EMs, or NDJSON with one EM on each line that
    is not blank.

    @raise InvalidEvent: as L{decode_event}, or the batch is empty.
    @raise TooManyEvents: there are more than L{MAX_EVENTS} events.
    """
    if body.lstrip(_BLANK).startswith(b"["):
        try:
            body.decode()
            events = _events_decoder.decode(body)
        except (ValueError, RecursionError) as error:
            raise InvalidEvent(_explain(error)) from None
    else:
        events = _decode_lines(body)
    if not events:
        raise InvalidEvent("Expected at least one event, got none")
    if len(events) > MAX_EVENTS:
        raise TooManyEvents(f"Expected at most {MAX_EVENTS} events, got {len(events)}")
    return events


def _decode_lines(body: bytes) -> list[Event]:
    lines = body.split(b"\n")
    try:
        body.decode()
        return [_event_decoder.decode(line) for line in lines if line.strip(_BLANK)]
    except (ValueError, RecursionError):
        # decode again line by line, to find the line with the error
        return [decode_event(line, number) for number, line in enumerate(lines, 1) if line.strip(_BLANK)]


def _explain(error: Exception, line: int | None = None) -> str:
    match error:
        case RecursionError():
            text = "JSON is nested too deeply"
        case UnicodeDecodeError():
            text = f"Body is not UTF-8: {error.reason} (byte {error.start})"
        case msgspec.DecodeError() if str(error) == "Input data was truncated":
            text = "JSON is malformed: it ends too early, or with half a surrogate pair"
        case _:
            text = str(error)
    if "missing required field `description`" in text and "$" not in text:
        text += " - at `$.description`"
    return text if line is None else f"line {line}: {text}"


def encode_event(event: Event) -> bytes:
    """Encode an EM as JSON."""
    return _encoder.encode(event)


def decode_notification(data: bytes, stream_id: str = "", deliveries: int = 1) -> Notification:
    """
    Decode the NM of the entry C{stream_id}.

    @raise InvalidEvent: the bytes are not UTF-8, not JSON, or not an NM.
    """
    try:
        notification = _notification_decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(_explain(error)) from None
    force_setattr(notification, "stream_id", stream_id)
    if notification.deliveries != deliveries:
        force_setattr(notification, "deliveries", deliveries)
    return notification


def encode_notification(notification: Notification) -> bytes:
    """
    Encode an NM as JSON, with the members that it has: id, description and
    timestamp first.
    """
    more = ("type", "key", "traceparent"), ("data", "cloudevent")
    members: dict[str, object] = {name: getattr(notification, name) for name in ("id", "description", "timestamp")}
    members |= {name: value for name in more[0] if (value := getattr(notification, name)) is not None}
    members |= {name: raw for name in more[1] if bytes(raw := getattr(notification, f"{name}_json"))}
    return _encoder.encode(members)


def write_notification(id: int, description: str, timestamp: str) -> bytes:
    """Encode an NM of three members, as L{encode_notification} does."""
    return _encoder.encode(_Wire(id, description, timestamp))


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
