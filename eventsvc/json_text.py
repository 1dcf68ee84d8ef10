"""
JSON that stays text: checked, but neither decoded nor encoded again.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, Final

import msgspec
from msgspec import Raw

#: The JSON text of a member that is not there.
NOTHING: Final = Raw()
#: Most levels of a payload.  Its readers have no more of Python's stack than its writers.
MAX_DEPTH: Final = 128
#: Bytes of a text that cannot be too deep, because each level takes two brackets.
SHALLOW: Final = 2 * MAX_DEPTH

#: Most characters of an error text from each end of a longer one: the text may quote a value, the place comes last.
_LONGEST: Final = 150

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: Steps of the depth, as signed bytes.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_BREAKS: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
_MISSING: Final = re.compile(r"missing required field `(\w+)`(?: - at `(\$.*)`)?")


def is_too_deep(text: bytes) -> bool:
    """Return whether a valid JSON text is nested deeper than L{MAX_DEPTH}."""
    if len(text) <= SHALLOW or text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(unescaped.split(b'"')[::2])  # of strings
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


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
        return json.loads(text, parse_int=_read_integer)


def _read_integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return float(digits)


def in_one_line(raw: Raw) -> Raw:
    """Return a JSON text without line breaks, which are white space in JSON."""
    text = bytes(raw)
    return Raw(msgspec.json.format(text, indent=-1)) if b"\n" in text or b"\r" in text else raw


def escape_breaks(text: bytes) -> bytes:
    """
    Escape in a JSON text what some readers take for a line break, and terminals for a command.

    These are U+007F to U+009F, U+2028 and U+2029.  JSON has them in strings alone.
    """
    if text.isascii() and b"\x7f" not in text:
        return text
    return _BREAKS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), text)


def explain(error: Exception, line: int | None = None, place: int | None = None) -> str:
    """
    Return what is wrong with a JSON text, and where, in a few hundred characters.

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
    if len(text) > 2 * _LONGEST:
        text = f"{text[:_LONGEST]} ... {text[-_LONGEST:]}"
    if found := _MISSING.search(text):
        text = f"{text[: found.start()]}missing required field `{found[1]}` - at `{found[2] or '$'}.{found[1]}`"
    if place is not None:
        text = text.replace("`$", f"`$[{place}]") if "`$" in text else f"{text} - at `$[{place}]`"
    return text if line is None else f"line {line}: {text}"
