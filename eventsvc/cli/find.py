"""
The command C{eventsvc find}: says where an event is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from eventsvc.cli.call import Call, Link, NotDone, connected
from eventsvc.cli.event_text import describe_entry, format_entry, is_marker, read_event, texts_in_json
from eventsvc.cli.letter_text import describe as describe_letter
from eventsvc.cli.letter_text import to_json
from eventsvc.cli.terminal import in_words, lines_for
from eventsvc.event import Entry, format_timestamp
from eventsvc.redis.dead import DeadLetter, DeadLetters
from eventsvc.redis.scripts import dead_letters
from eventsvc.redis.search import Delivery, Search, order_of
from eventsvc.text_lines import printable

#: Entries between two messages of progress.
_PROGRESS: Final = 20_000


@attrs.frozen
class Found:
    """
    An event that was found.

    @ivar deliveries: what each group knows of it; none for a dead letter.
    """

    entry: Entry
    deliveries: Sequence[Delivery] = ()
    letter: DeadLetter | None = None

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        if self.letter is not None:
            return {**describe_letter(self.letter), "dead": self.letter.id}
        return {**describe_entry(self.entry), "dead": None, "groups": [attrs.asdict(each) for each in self.deliveries]}

    def places(self) -> list[str]:
        """Return sentences that say where it is."""
        if self.letter is not None:
            return [
                f"dead letter {self.letter.id}: {self.letter.reason} after {self.letter.deliveries} deliveries to "
                f"{self.letter.group}/{self.letter.consumer}: {self.letter.error}",
                f"replay it: eventsvc dead replay {self.letter.id}",
            ]
        return [f"entry {self.entry.id}", *map(_say_delivery, self.deliveries)]


def _say_delivery(delivery: Delivery) -> str:
    match delivery.state:
        case "pending":
            times = f"{delivery.deliveries} time{'' if delivery.deliveries == 1 else 's'}"
            return (
                f"group {delivery.group}: with consumer {delivery.consumer}, not acknowledged; delivered {times}, "
                f"last {in_words(delivery.idle)} ago"
            )
        case "unread":
            return f"group {delivery.group}: not delivered yet"
        case _:
            return f"group {delivery.group}: delivered and acknowledged"


async def run_find(call: Call) -> int:
    """Search the stream, then its dead letters; return 1 if nothing is found."""
    text, most = call.given["text"], call.given["limit"]
    if not text:
        raise NotDone("there is nothing to find in an empty text")
    async with connected(call) as link:
        finder = Finder(call, link)
        found = await finder.find(text, most)
        finder.clear()
    if call.json:
        call.write(f"{to_json([each.describe() for each in found])}\n")
    else:
        for each in found:
            _write(call, each)
    call.say(finder.summary(len(found)))
    return 0 if found else 1


def _write(call: Call, found: Found) -> None:
    call.write(f"{format_entry(found.entry, read_event(found.entry), lines_for(call.out))}\n")
    for line in found.places():
        call.write(f"  {printable(line)}\n")


@attrs.define
class Finder:
    """
    Finds events.

    @ivar seen: entries that were searched.
    @ivar reached: the id of the oldest of them in the stream.
    """

    call: Call
    link: Link
    seen: int = 0
    reached: str = ""

    async def find(self, text: str, most: int) -> list[Found]:
        stream, dead = self.link.redis.stream, dead_letters(self.link.redis.stream)
        search = Search(self.link.connection, stream)
        if re.fullmatch(r"[0-9]{1,20}-[0-9]{1,20}", text):
            entry = await self.link.ask(search.find, text)
            entries = [] if entry is None else [entry]
        else:
            entries = await self._search(search, text, most)
        found = [Found(entry, await self.link.ask(search.deliveries, entry.id)) for entry in entries]
        if len(found) < most:
            letters = Search(self.link.connection, dead)
            for entry in await self._search(letters, text, most - len(found)):
                letter = await self.link.ask(DeadLetters(self.link.connection, stream).find, entry.id)
                if letter is not None:
                    found.append(Found(Entry(letter.original, dict(letter.fields)), letter=letter))
        return found

    async def _search(self, search: Search, text: str, most: int) -> list[Entry]:
        texts, oldest = texts_in_json(text), f"{self.call.given['since']}-0"
        before, found = "", list[Entry]()
        while len(found) < most:
            stretch = await self.link.ask(search.search, texts, before, oldest, most - len(found))
            if not stretch.seen:
                break
            found += [entry for entry in stretch.found if not is_marker(entry)]
            before = stretch.last
            self._progress(stretch.seen, stretch.last)
        return found

    def _progress(self, seen: int, reached: str) -> None:
        before, self.seen = self.seen, self.seen + seen
        if not self.reached or order_of(reached) < order_of(self.reached):
            self.reached = reached
        if self.call.err.isatty() and before // _PROGRESS < self.seen // _PROGRESS:
            self.call.err.write(f"\r{self._words()} ...\x1b[K")
            self.call.err.flush()

    def clear(self) -> None:
        """Remove the message of progress."""
        if self.call.err.isatty() and self.seen >= _PROGRESS:
            self.call.err.write("\r\x1b[K")

    def summary(self, found: int) -> str:
        """Return how many events were found, and where."""
        count = "nothing" if not found else f"{found} event{'' if found == 1 else 's'}"
        return f"found {count}; {self._words()}" if self.seen else f"found {count}"

    def _words(self) -> str:
        when = format_timestamp(int(self.reached.partition("-")[0]) * 1_000_000)[:19]
        return f"searched {self.seen:,} entries back to {when}Z"
