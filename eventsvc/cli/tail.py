"""
The command C{eventsvc tail}: shows events as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.task import deferLater

from eventsvc.cli.call import Call, Link, connected
from eventsvc.cli.event_text import describe_entry, format_entry
from eventsvc.cli.terminal import lines_for
from eventsvc.dashboard.story import Filter, StoredEntry
from eventsvc.json_text import escape_breaks, in_one_line
from eventsvc.redis.events import StreamEvents

#: Seconds between two looks for new entries.
_EVERY: Final = 0.2
#: Most entries on a page.
_PAGE: Final = 1_000
#: Entries among which the last ones are looked for.
_LOOK_BACK: Final = 20_000


@attrs.frozen
class Printer:
    """Writes the events that a filter admits, a line each."""

    call: Call
    chosen: Filter

    def admits(self, entry: StoredEntry) -> bool:
        return not entry.is_marker and self.chosen.admits(entry)

    def show(self, entries: Iterable[StoredEntry]) -> None:
        lines = lines_for(self.call.out)
        for entry in filter(self.admits, entries):
            if self.call.json:
                self.call.write(json_line(describe_entry(entry)))
            else:
                self.call.write(f"{format_entry(entry, lines)}\n")
        self.call.out.flush()


def json_line(members: dict[str, Any]) -> str:
    """Return a JSON object on one line."""
    members = {name: in_one_line(each) if isinstance(each, msgspec.Raw) else each for name, each in members.items()}
    return escape_breaks(msgspec.json.encode(members)).decode() + "\n"


async def run_tail(call: Call) -> int:
    """Show the last events, then new ones until the command is interrupted."""
    given = call.given
    printer = Printer(call, Filter(given["type"] or "", given["key"] or "", given["text"] or ""))
    async with connected(call) as link:
        events = StreamEvents(link.connection, link.redis.stream)
        newest, last = await _read_last(link, events, printer, given["last"])
        printer.show(last)
        if not last:
            call.say(f"no event fits among the newest {_LOOK_BACK:,} entries of {link.redis.stream}")
        if not given["no_follow"]:
            await _follow(link, events, printer, newest)
    return 0


async def _read_last(link: Link, events: StreamEvents, printer: Printer, most: int) -> tuple[str, list[StoredEntry]]:
    """Return the id of the newest entry, and the last entries that are admitted, in their order."""
    newest, before, seen = "", "", 0
    last: list[StoredEntry] = []
    while len(last) < most and seen < _LOOK_BACK and (page := await link.ask(events.read_newest, before, _PAGE)):
        newest, before, seen = newest or page[0].id, page[-1].id, seen + len(page)
        last += filter(printer.admits, page)
    return newest or "0-0", last[:most][::-1]


async def _follow(link: Link, events: StreamEvents, printer: Printer, after: str) -> None:
    while True:
        page = await link.ask(events.read_after, after, _PAGE)
        if page:
            printer.show(page)
            after = page[-1].id
        else:
            await deferLater(link.clock, _EVERY)
