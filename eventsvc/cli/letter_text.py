"""
Formats dead letters as tables and as JSON, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import msgspec

from eventsvc.event import EVENT_FIELD, InvalidEvent, Notification, decode_notification, format_timestamp
from eventsvc.json_text import escape_breaks, is_too_deep
from eventsvc.redis.dead import DeadLetter
from eventsvc.text_lines import cut, printable

#: Characters of a text that a table shows.
_CUT: Final = 2_000
#: Columns of a terminal that has room for everything and some of the error.
_NARROW: Final = 100


def to_json(value: object, depth: int = 0) -> str:
    """Return a value as indented JSON, nested in C{depth} lists or objects, without what a terminal would obey."""
    text = escape_breaks(msgspec.json.format(msgspec.json.encode(value)))
    return text.decode().replace("\n", "\n" + "  " * depth)


@attrs.define(eq=False)
class Members:
    """
    Writes a JSON list or object member by member, in the format of L{to_json}.

    @ivar brackets: the opening and the closing bracket.
    @ivar depth: number of lists or objects around it.
    """

    write: Callable[[str], object]
    brackets: str
    depth: int = 0
    _any: bool = attrs.field(default=False, init=False)

    @classmethod
    def begin(cls, write: Callable[[str], object], brackets: str, head: str = "", depth: int = 0) -> Members:
        """Write the opening bracket."""
        write(head + brackets[0])
        return cls(write, brackets, depth)

    def add(self, value: object, name: str | None = None) -> None:
        """Write one member; in an object, with its name."""
        self.write(",\n" if self._any else "\n")
        self.write("  " * (self.depth + 1) + ("" if name is None else f"{to_json(name)}: "))
        self.write(to_json(value, self.depth + 1))
        self._any = True

    def end(self) -> None:
        self.write(("\n" + "  " * self.depth if self._any else "") + self.brackets[1])


def describe(letter: DeadLetter) -> dict[str, Any]:
    """
    Return a letter as JSON; bytes that are not UTF-8 are escaped.

    C{event} is its NM, as it is in the stream; C{None} if it has none.
    """
    found = _find_event(letter)
    return {
        "id": letter.id,
        "entry": letter.original,
        "set_aside": _when(letter),
        "reason": letter.reason,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "group": letter.group,
        "consumer": letter.consumer,
        "event": None if found is None else found[1],
        "fields": {_text(name): _text(value) for name, value in letter.fields},
    }


def make_table(
    letters: Sequence[DeadLetter], width: int | None, before: Sequence[int] = ()
) -> tuple[str, Sequence[int]]:
    """
    Return letters as a table, and the widths of its columns.

    @param width: width of the terminal, at which lines are cut off; if it is small, the entry is left out, so that
        something of the error can be seen.
    @param before: the column widths of the earlier pages; only the first page
        has a header.
    """
    rows: list[tuple[str, ...]] = [] if before else [("ID", "ENTRY", "SET ASIDE", "REASON", "DELIVERIES", "ERROR")]
    for each in letters:
        rows.append((each.id, each.original, _when(each), each.reason, str(each.deliveries), each.error))
    if width is not None and width < _NARROW:
        rows = [(id, *rest) for id, _, *rest in rows]
    cells = [[printable(cut(cell, _CUT)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    widths = list(map(max, widths, before or widths))
    widths[-1] = 0  # the error is the last column
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join(line if width is None else cut(line, width) for line in lines), widths


def make_sheet(letter: DeadLetter) -> str:
    """Return everything about one letter, and what its event carries."""
    about = describe(letter)
    del about["event"]
    fields = about.pop("fields") or {"fields": "none: the entry was trimmed before it was set aside"}
    parts = [(name.replace("_", " "), [str(value)]) for name, value in about.items()]
    if found := _find_event(letter):
        parts += _describe_event(found[0])
    parts += [(name, [value]) for name, value in fields.items()]
    width = max(len(printable(name)) for name, _ in parts)
    margin = f"\n{'':{width}}  "
    return "\n".join(f"{printable(name):{width}}  {margin.join(map(printable, lines))}" for name, lines in parts)


def _find_event(letter: DeadLetter) -> tuple[Notification, msgspec.Raw] | None:
    """Return the event of a letter, and its text; C{None} if that cannot be read, or not written here."""
    for name, value in letter.fields:
        if name == EVENT_FIELD:
            try:
                value.decode()
                return None if is_too_deep(value) else (decode_notification(value), msgspec.Raw(value))
            except (InvalidEvent, UnicodeDecodeError):
                return None
    return None


def _describe_event(event: Notification) -> list[tuple[str, list[str]]]:
    """Return the members of an event: the name and the lines of each."""
    texts = {
        "event id": str(event.id),
        "accepted": event.timestamp,
        "description": event.description,
        "type": event.type,
        "key": event.key,
        "traceparent": event.traceparent,
    }
    parts = [(name, [text]) for name, text in texts.items() if text is not None]
    for name, raw in (("data", event.data_json), ("cloudevent", event.cloudevent_json)):
        if bytes(raw):
            parts.append((name, msgspec.json.format(bytes(raw)).decode().split("\n")))
    return parts


def _when(letter: DeadLetter) -> str:
    """Return the time at which a letter was set aside: RFC 3339, UTC."""
    return format_timestamp(int(letter.id.partition("-")[0]) * 1_000_000)[:19] + "Z"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
