"""
Formats events that were read from a stream, as text and as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, Entry, InvalidEvent, Notification, decode_notification
from eventsvc.json_text import is_too_deep
from eventsvc.text_lines import DIM, RED, TextLines, printable


def is_marker(entry: Entry) -> bool:
    """Return whether an entry marks the creation of the stream, and is no event."""
    return list(entry.fields or {})[:1] == [MARKER_FIELD]


def read_event(entry: Entry) -> Notification | None:
    """Return the event of an entry; C{None} if there is none that can be read."""
    try:
        return decode_notification((entry.fields or {})[EVENT_FIELD], entry.id)
    except (KeyError, InvalidEvent):
        return None


def format_entry(entry: Entry, event: Notification | None, lines: TextLines) -> str:
    """Return an entry as one line."""
    if event is not None:
        return lines.format_event(event)
    fields = " ".join(f"{show(name)}={show(value)}" for name, value in (entry.fields or {}).items())
    return lines.format_words([(entry.id, DIM), ("no event:", RED), (printable(fields), "")])


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry for JSON: its event as it is in the stream, or its fields if that is none."""
    raw = (entry.fields or {}).get(EVENT_FIELD, b"")
    if read_event(entry) is not None and not is_too_deep(raw):
        try:
            raw.decode()
            return {"entry": entry.id, "event": msgspec.Raw(raw)}
        except UnicodeDecodeError:
            pass
    fields = {show(name): show(value) for name, value in (entry.fields or {}).items()}
    return {"entry": entry.id, "event": None, "fields": fields}


def show(data: bytes) -> str:
    """Return bytes as text; what is not UTF-8 is escaped."""
    return data.decode("utf-8", "backslashreplace")


def texts_in_json(text: str) -> list[bytes]:
    """
    Return how a JSON text may contain a text.

    Our own texts escape only what they must; clients may have escaped all that is not ASCII.
    """
    plain = msgspec.json.encode(text)[1:-1]
    escaped = json.dumps(text)[1:-1].encode()
    return list(dict.fromkeys([plain, escaped, escaped.lower() if text.islower() else escaped]))
