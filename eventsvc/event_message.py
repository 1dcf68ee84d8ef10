"""
The Event Message: what a client posts, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Raw

from eventsvc.event import MAX_EVENTS, Event, InvalidEvent, TooManyEvents
from eventsvc.json_text import NOTHING, explain, is_too_deep

#: Most bytes of a key, and most characters of a type.
MAX_KEY_BYTES: Final = 255
MAX_TYPE: Final = 255
#: JSON's white space.
BLANK: Final = b" \t\r\n"


class _Message(msgspec.Struct):
    """
    The members of an EM.

    The collector counts it, although it is never part of a cycle: without that
    it would run too seldom for the requests, which are, and hold the bodies.
    """

    description: str
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TYPE)] | None = None
    key: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    data: Raw = NOTHING


class _Posted(msgspec.Struct, omit_defaults=True):
    """An EM as it is written."""

    description: str
    type: str | None = None
    key: str | None = None
    data: Raw | None = None


_event_decoder: Final = msgspec.json.Decoder(_Message)
_events_decoder: Final = msgspec.json.Decoder(list[_Message])
_encoder: Final = msgspec.json.Encoder()


def decode_event(body: bytes, line: int | None = None) -> Event:
    """
    Decode one EM.

    @param line: line number of the bytes, for the error text.
    @raise InvalidEvent: the bytes are not UTF-8, not JSON, or not an EM.
    """
    try:
        body.decode()  # ignored members must be UTF-8 too
        return _read(_event_decoder.decode(body))
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(explain(error, line)) from None


def _read(message: _Message) -> Event:
    """Return an EM with the members that it has; C{null} is none."""
    if message.key is None and message.data is NOTHING:
        return Event(message.description, message.type)
    check_key(message.key)
    data = None if message.data is NOTHING or bytes(message.data) == b"null" else message.data
    if data is not None and is_too_deep(bytes(data)):
        raise ValueError("JSON is nested too deeply - at `$.data`")
    return Event(message.description, message.type, message.key, data)


def check_key(key: str | None, name: str = "key") -> None:
    """
    Check the length of a key.

    @param name: of the member, for the error text.
    @raise ValueError: it is too long.
    """
    if key is not None and len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"Expected `str` of at most {MAX_KEY_BYTES} bytes in UTF-8 - at `$.{name}`")


def decode_events(body: bytes) -> Sequence[Event]:
    """
    Decode a batch: a JSON array of EMs, or NDJSON with one EM on each line that
    is not blank.

    @raise InvalidEvent: as L{decode_event}, or the batch is empty.
    @raise TooManyEvents: there are more than L{MAX_EVENTS} events.
    """
    if body.lstrip(BLANK).startswith(b"["):
        try:
            body.decode()
            messages = _events_decoder.decode(body)
        except (ValueError, RecursionError) as error:
            raise InvalidEvent(explain(error)) from None
        try:
            events = _read_all(messages)
        except ValueError:
            events = [_read_element(message, place) for place, message in enumerate(messages)]  # to find the error
    else:
        events = _decode_lines(body)
    check_number(len(events))
    return events


def check_number(events: int) -> None:
    """
    Check the number of events in a batch.

    @raise InvalidEvent: there are none.
    @raise TooManyEvents: there are more than L{MAX_EVENTS}.
    """
    if not events:
        raise InvalidEvent("Expected at least one event, got none")
    if events > MAX_EVENTS:
        raise TooManyEvents(f"Expected at most {MAX_EVENTS} events, got {events}")


def _read_all(messages: Sequence[_Message]) -> list[Event]:
    return [
        Event(each.description, each.type) if each.key is None and each.data is NOTHING else _read(each)
        for each in messages
    ]


def _read_element(message: _Message, place: int) -> Event:
    try:
        return _read(message)
    except ValueError as error:
        raise InvalidEvent(explain(error, place=place)) from None


def _decode_lines(body: bytes) -> list[Event]:
    lines = body.split(b"\n")
    try:
        body.decode()
        messages = [_event_decoder.decode(line) for line in lines if line and line.strip(BLANK)]
        return _read_all(messages)
    except (ValueError, RecursionError):
        # decode again line by line, to find the line with the error
        return [decode_event(line, number) for number, line in enumerate(lines, 1) if line.strip(BLANK)]


def encode_event(event: Event) -> bytes:
    """Encode an EM as JSON: the whole CloudEvent, if it is one."""
    if event.cloudevent is not None:
        return bytes(event.cloudevent)
    return _encoder.encode(_Posted(event.description, event.type, event.key, event.data))
