"""
Lines of text for people: one message or one event each.

Whatever the texts contain, a line stays one line and no terminal obeys it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final
from unicodedata import combining, east_asian_width

import attrs

from eventsvc.event import Notification

#: Codes of ECMA-48, SGR.
BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
CYAN: Final = "36"

_LEVELS: Final = {"debug": DIM, "info": GREEN, "warn": YELLOW, "error": RED, "critical": f"{BOLD};{RED}"}
#: Most characters in each column: a letter and marks on it.
_MARKED: Final = 4
#: Characters of a payload that the line of an event shows.
_PAYLOAD: Final = 200


def printable(text: str) -> str:
    """Return a text on one line, with escapes instead of what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def columns_of(text: str) -> int:
    """Return the columns that a printable text takes on a terminal: UAX 11, and none for marks on other letters."""
    if text.isascii():
        return len(text)
    return sum([0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text])


def cut(text: str, most: int) -> str:
    """Return the beginning of a printable text, in so many columns; its last character says if something is missing."""
    if len(text) <= _MARKED * most and columns_of(text) <= most:
        return text
    kept = text[: max(0, most - 1)]
    while columns_of(kept) > most - 1:
        kept = kept[:-1]
    return f"{kept}…"


@attrs.frozen
class TextLines:
    """
    Formats lines, without their line ends.

    @ivar coloured: whether to colour them, for a terminal.
    @ivar width: columns at which the line of an event is cut off.
    @ivar brief: whether a message has the time of day alone, as an event has, and not who says it.
    """

    coloured: bool = False
    width: int = sys.maxsize
    brief: bool = False

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured and text else text

    def format_message(self, members: Mapping[str, Any]) -> str:
        """
        Return the line of a log message, and after it the lines of a traceback.

        @param members: C{time}, C{level}, C{from}, C{message}, perhaps C{error} and C{traceback}, and details.
        """
        rest = dict(members)
        time, level, source, message = [
            printable(str(rest.pop(name, ""))) for name in ("time", "level", "from", "message")
        ]
        traceback = str(rest.pop("traceback", ""))
        words = [
            self.paint(time[11:23] if self.brief else f"{time[:23]}Z", DIM),
            self.paint(f"{level:8}", _LEVELS.get(level, "")),
            message,
            self.paint(" ".join(f"{printable(str(name))}={printable(str(rest[name]))}" for name in rest), DIM),
            "" if self.brief else self.paint(f"[{source}]", DIM),
        ]
        lines = [" ".join(filter(None, words)), *(f"    {printable(line)}" for line in traceback.splitlines())]
        return "\n".join(lines)

    def format_event(self, event: Notification) -> str:
        """Return the line of an event: when it was accepted, its id, and what it carries."""
        payload = bytes(event.data_json) or bytes(event.cloudevent_json)
        words = [
            (event.timestamp[11:23], DIM),
            (f"{event.id:<19}", CYAN),
            (event.type or "", GREEN),
            (f"key={event.key}" if event.key is not None else "", YELLOW),
            (event.description, ""),
            (cut(payload.decode("utf-8", "replace"), _PAYLOAD), DIM),
        ]
        return self.format_words([(printable(text), code) for text, code in words if text])

    def format_words(self, words: Sequence[tuple[str, str]]) -> str:
        """Return printable words with their colours as a line that fits."""
        line, room = [], self.width
        for text, code in words:
            if room <= 0:
                break
            line.append(self.paint(cut(text, room), code) if code else cut(text, room))
            room -= columns_of(text) + 1
        return " ".join(line)
