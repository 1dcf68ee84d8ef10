"""
The command C{eventsvc tail}: shows events as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import msgspec

from eventsvc.cli.call import Call, Link, connected
from eventsvc.cli.event_text import describe_entry, format_entry, is_marker, read_event, show
from eventsvc.cli.terminal import lines_for
from eventsvc.consumer.page import PageSize
from eventsvc.event import Entry, Notification
from eventsvc.json_text import escape_breaks, in_one_line
from eventsvc.redis.search import Search

#: Seconds that one read waits for new entries.
_WAIT: Final = 2.0
#: Most entries in one read.
_MOST: Final = 1_000
#: Entries among which the last ones are looked for.
_LOOK_BACK: Final = 20_000


@attrs.frozen
class Filter:
    """Chooses events by all that is given."""

    type: str | None
    key: str | None
    text: str | None

    def takes(self, entry: Entry, event: Notification | None) -> bool:
        if is_marker(entry):
            return False
        if self.type is not None and (event is None or event.type != self.type):
            return False
        if self.key is not None and (event is None or event.key != self.key):
            return False
        if self.text is None:
            return True
        texts = [show(value) for value in (entry.fields or {}).values()]
        if event is not None:
            texts += [event.description, event.key or "", event.type or ""]
        return any(self.text in text for text in texts)


@attrs.frozen
class Printer:
    """Writes the events that a filter takes, a line each."""

    call: Call
    chosen: Filter

    def show(self, entries: Iterable[Entry]) -> None:
        lines = lines_for(self.call.out)
        for entry in entries:
            event = read_event(entry)
            if not self.chosen.takes(entry, event):
                continue
            if self.call.json:
                self.call.write(json_line(describe_entry(entry)))
            else:
                self.call.write(f"{format_entry(entry, event, lines)}\n")
        self.call.out.flush()


def json_line(members: dict[str, Any]) -> str:
    """Return a JSON object on one line."""
    members = {name: in_one_line(each) if isinstance(each, msgspec.Raw) else each for name, each in members.items()}
    return escape_breaks(msgspec.json.encode(members)).decode() + "\n"


async def run_tail(call: Call) -> int:
    """Show the last events, then new ones until the command is interrupted."""
    given = call.given
    printer = Printer(call, Filter(given["type"], given["key"], given["text"]))
    async with connected(call) as link:
        search = Search(link.connection, link.redis.stream)
        newest, last = await _read_last(link, search, printer.chosen, given["last"])
        printer.show(last)
        if not given["no_follow"]:
            await _follow(link, search, printer, newest)
    return 0


async def _read_last(link: Link, search: Search, chosen: Filter, most: int) -> tuple[str, list[Entry]]:
    """Return the id of the newest entry, and the last entries that are chosen, in their order."""
    newest, before, seen = "", "", 0
    last: list[Entry] = []
    while len(last) < most and seen < _LOOK_BACK:
        stretch = await link.ask(search.search, [b""], before, "-", most - len(last))
        if not stretch.seen:
            break
        newest = newest or stretch.found[0].id
        before, seen = stretch.last, seen + stretch.seen
        last += [entry for entry in stretch.found if chosen.takes(entry, read_event(entry))]
    return newest or "0-0", last[::-1]


async def _follow(link: Link, search: Search, printer: Printer, after: str) -> None:
    size = PageSize()
    while True:
        page = await link.ask(search.read_after, after, size.count(_MOST), _WAIT)
        size.arrived(page)
        if page:
            printer.show(page)
            after = page[-1].id
