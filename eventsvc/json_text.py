"""
JSON that stays text: checked, but neither decoded nor encoded again.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from msgspec import Raw

#: The JSON text of a member that is not there.
NOTHING: Final = Raw()
#: Most levels of a payload.  Its readers have no more of Python's stack than its writers.
MAX_DEPTH: Final = 128

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_MISSING: Final = re.compile(r"missing required field `(\w+)`(?: - at `(\$.*)`)?")


def is_too_deep(raw: Raw) -> bool:
    """Return whether a valid JSON text is nested deeper than L{MAX_DEPTH}."""
    text = bytes(raw)
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def read_any(raw: Raw) -> Any:
    """
    Decode a JSON text; C{None} if there is none.

    A number out of the range of integers and floats becomes an infinite float.
    """
    text = bytes(raw)
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text, parse_int=float)


def in_one_line(raw: Raw) -> Raw:
    """Return a JSON text without line breaks, which are white space in JSON."""
    text = bytes(raw)
    return Raw(msgspec.json.format(text, indent=-1)) if b"\n" in text or b"\r" in text else raw


def explain(error: Exception, line: int | None = None, place: int | None = None) -> str:
    """
    Return what is wrong with a JSON text, and where.

    @param line: the number of its line in a batch.
    @param place: its place in an array.
    """
    match error:
        case RecursionError():
            text = "JSON is nested too deeply"
        case UnicodeDecodeError():
            text = f"Body is not UTF-8: {error.reason} (byte {error.start})"
        case msgspec.DecodeError() if str(error) == "Input data was truncated":
            text = "JSON is malformed: it ends too early, or with half a surrogate pair"
        case _:
            text = str(error)
    if found := _MISSING.search(text):
        text = f"{text[: found.start()]}missing required field `{found[1]}` - at `{found[2] or '$'}.{found[1]}`"
    if place is not None:
        text = text.replace("`$", f"`$[{place}]") if "`$" in text else f"{text} - at `$[{place}]`"
    return text if line is None else f"line {line}: {text}"
