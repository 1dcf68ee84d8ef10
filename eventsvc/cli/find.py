"""
The command C{eventsvc find}: says where an event is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from eventsvc.cli.call import Call, Link, NotDone, connected
from eventsvc.cli.event_text import describe_entry, format_entry, texts_in_json
from eventsvc.cli.letter_text import to_json
from eventsvc.cli.terminal import lines_for, wrap
from eventsvc.dashboard.story import Step, StoredEntry, is_after, tell_story
from eventsvc.dead_letter import DeadLetter
from eventsvc.event import format_timestamp, is_entry_id
from eventsvc.redis.dead import DeadLetters
from eventsvc.redis.events import StreamEvents
from eventsvc.redis.scripts import dead_letters
from eventsvc.redis.search import Search
from eventsvc.redis.survey import survey

#: Entries between two messages of progress.
_PROGRESS: Final = 20_000


#: How the marks of steps are written.
_MARKS: Final = {"done": "✓", "waits": "…", "wrong": "✗", "unknown": "?"}


@attrs.frozen
class Found:
    """
    An event that was found.

    @ivar steps: its way through the system.
    @ivar letter: the dead letter that it is, in whichever group.
    """

    entry: StoredEntry
    steps: Sequence[Step]
    letter: DeadLetter | None = None

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        dead = None if self.letter is None else self.letter.id
        return {**describe_entry(self.entry), "dead": dead, "steps": [attrs.asdict(step) for step in self.steps]}

    def lines(self) -> list[str]:
        """Return its way, a line for each step."""
        lines = [
            f"{_MARKS[step.mark]} {step.name}: {', '.join(filter(None, (step.at, step.detail)))}" for step in self.steps
        ]
        return lines if self.letter is None else [*lines, f"  replay it: eventsvc dead replay {self.letter.id}"]


async def run_find(call: Call) -> int:
    """Search the stream, then its dead letters; return 1 if nothing is found."""
    text, most = call.given["text"], call.given["limit"]
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
    lines = lines_for(call.out)
    call.write(f"{format_entry(found.entry, lines)}\n")
    for line in found.lines():
        call.write(f"  {wrap(line, lines.width, 4)}\n")


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
        stream = self.link.redis.stream
        events = StreamEvents(self.link.connection, stream)
        entry = await self.link.ask(events.find, text) if is_entry_id(text) else None
        if entry is None:
            entries = await self._search(Search(self.link.connection, stream), text, most)
        else:
            entries = [entry]
        found = [await self._locate(events, entry) for entry in entries]
        if len(found) < most:
            known = {each.letter.id for each in found if each.letter is not None}
            letters = await self._search(Search(self.link.connection, dead_letters(stream)), text, most - len(found))
            found += [await self._open(letter.id) for letter in letters if letter.id not in known]
        return found

    async def _locate(self, events: StreamEvents, entry: StoredEntry) -> Found:
        state = await self.link.ask(survey, events.connection, events.stream)
        groups = [(group, await self.link.ask(events.find_delivery, group, entry.id)) for group in state.groups]
        letter = await self.link.ask(events.find_letter, entry.id) if state.dead else None
        return Found(entry, tell_story(entry, groups, letter, state.now), letter)

    async def _open(self, id: str) -> Found:
        letter = await self.link.ask(DeadLetters(self.link.connection, self.link.redis.stream).find, id)
        if letter is None:
            raise NotDone(f"dead letter {id} was removed meanwhile")
        entry = StoredEntry(letter.original, letter.fields)
        return Found(entry, tell_story(None, [], letter, 0.0), letter)

    async def _search(self, search: Search, text: str, most: int) -> list[StoredEntry]:
        texts, oldest = texts_in_json(text), f"{self.call.given['since']}-0"
        before, found = "", list[StoredEntry]()
        while len(found) < most:
            stretch = await self.link.ask(search.search, texts, before, oldest, most - len(found))
            if not stretch.seen:
                break
            found += [entry for entry in stretch.found if not entry.is_marker]
            before = stretch.last
            self._progress(stretch.seen, stretch.last)
        return found

    def _progress(self, seen: int, reached: str) -> None:
        before, self.seen = self.seen, self.seen + seen
        if not self.reached or is_after(self.reached, reached):
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
