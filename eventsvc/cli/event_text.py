"""
Formats events that were read from a stream, as text and as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from eventsvc.dashboard.story import StoredEntry
from eventsvc.json_text import is_too_deep
from eventsvc.text_lines import DIM, RED, TextLines, printable


def format_entry(entry: StoredEntry, lines: TextLines) -> str:
    """Return an entry as one line."""
    if entry.event is not None:
        return lines.format_event(entry.event)
    fields = " ".join(f"{_show(name)}={_show(value)}" for name, value in entry.fields)
    return lines.format_words([(entry.id, DIM), ("no event:", RED), (printable(fields), "")])


def describe_entry(entry: StoredEntry) -> dict[str, Any]:
    """Return an entry for JSON: its event as it is in the stream, or its fields if that is none."""
    if entry.event is not None and not is_too_deep(entry.text):
        try:
            entry.text.decode()
            return {"entry": entry.id, "event": msgspec.Raw(entry.text)}
        except UnicodeDecodeError:  # in a member that nobody reads
            pass
    return {"entry": entry.id, "event": None, "fields": {_show(name): _show(value) for name, value in entry.fields}}


def _show(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def texts_in_json(text: str) -> list[bytes]:
    """
    Return how a JSON text may contain a text.

    Our own texts escape only what they must; clients may have escaped all that is not ASCII.
    """
    return list(dict.fromkeys([msgspec.json.encode(text)[1:-1], json.dumps(text)[1:-1].encode()]))
