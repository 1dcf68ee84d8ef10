"""
The C{eventsvc dead} commands: list, show, replay and purge dead letters.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TextIO, TypeVar

import attrs
from twisted.internet.defer import Deferred

from eventsvc.cli.call import Call, Link, NotDone, connected
from eventsvc.cli.letter_text import Members, describe, make_sheet, make_table, to_json
from eventsvc.cli.terminal import width_of
from eventsvc.redis.dead import NOT_MOVED, DeadLetter, DeadLetters

T = TypeVar("T")

#: Number of letters shown before the user confirms.
_SHOWN: Final = 20
#: Shown instead of the new id if the call that moved a letter got no answer.
LOST: Final = "(the answer was lost)"
#: Number of letters on a page.
_PAGE: Final = 500


@attrs.frozen
class Chosen:
    """
    The letters that a command applies to.

    @ivar count: how many; other processes may remove some meanwhile.
    @ivar first: the first few.
    @ivar ids: the given ids; C{None} with C{--all}.
    @ivar last: the newest id when the command started.  Later letters are left
        out; otherwise one that fails again at once would be replayed forever.
    """

    count: int
    first: Sequence[DeadLetter]
    ids: Sequence[str] | None = None
    last: str = ""


@attrs.frozen(kw_only=True)
class Asked:
    """
    A command with its options.

    @ivar command: the name of a method of L{Desk}.
    @ivar id: the id of the letter to C{show}.
    @ivar ids: the ids to C{replay} or C{purge}; empty if C{all} is set.
    @ivar yes: whether to skip the confirmation.
    @ivar limit: most letters to C{list}; C{None} for all.
    """

    command: str
    id: str = ""
    ids: Sequence[str] = ()
    all: bool = False
    yes: bool = False
    json: bool = False
    quiet: bool = False
    limit: int | None = None


@attrs.frozen(kw_only=True)
class Desk:
    """
    Runs commands on the dead letters of a stream.

    Each command is a method with its name, which raises L{NotDone} if it fails for
    any letter.

    @ivar ask: asks the user a question.
    """

    asked: Asked
    link: Link
    out: TextIO
    err: TextIO
    ask: Callable[[str], bool]

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.link.connection, self.link.redis.stream)

    async def list(self) -> None:
        """Write all letters page by page, because they may not fit in memory."""
        most = self.asked.limit or sys.maxsize
        found, after = 0, ""
        widths: Sequence[int] = ()
        listed = self._members("[]")
        while page := await self._read(after, min(_PAGE, most - found)):
            found, after = found + len(page), page[-1].id
            if listed:
                for letter in page:
                    listed.add(describe(letter))
            elif self.asked.quiet:
                self._write("".join(f"{letter.id}\n" for letter in page))
            else:
                text, widths = make_table(page, width_of(self.out), widths)
                self._write(f"{text}\n")
        if listed:
            self._end(listed)
        more = await self._count() - found if found == most else 0
        self._say(f"{_words(found)} of {self.link.redis.stream}" + (f", and {more} more" if more > 0 else ""))

    async def show(self) -> None:
        letter = await self._find(self.asked.id)
        if self.asked.json:
            self._write(f"{to_json(describe(letter))}\n")
        else:
            self._write(f"{letter.id if self.asked.quiet else make_sheet(letter)}\n")

    async def replay(self) -> None:
        chosen = await self._choose()
        self._confirm(
            chosen,
            f"{_words(chosen.count)} will go back to the end of {self.link.redis.stream}; "
            "every group that reads it gets the events again.",
        )
        moved = 0
        failed: dict[str, str] = {}
        done = self._members("{}", '{\n  "replayed": ', 1)
        try:
            async for ids in self._pages(chosen):
                for id in ids:
                    place = await self._replay(id, failed)
                    if id not in failed:
                        moved += 1
                        if done:
                            done.add(place, id)
                        else:
                            self._write(f"{id}{'' if self.asked.quiet else f' -> {place or LOST}'}\n")
        finally:
            self._say(f"replayed {moved} of {_words(chosen.count)}")
            if done:
                self._end(done, f',\n  "failed": {to_json(failed, 1)}\n}}')
        if failed:
            raise NotDone("\n".join(f"{id}: {why}" for id, why in failed.items()))

    async def _replay(self, id: str, failed: dict[str, str]) -> str | None:
        """Move a letter, and return its new id in the stream; C{None} if the reply was lost."""
        answer, in_doubt = await self._call(self.letters.replay, id)
        if answer == "gone" and in_doubt:
            return None  # moved by the attempt whose reply was lost
        if answer in NOT_MOVED:
            failed[id] = NOT_MOVED[answer]
        return answer

    async def purge(self) -> None:
        chosen = await self._choose()
        self._confirm(chosen, f"{_words(chosen.count)} of {self.link.redis.stream} will be deleted for good.")
        purged = 0
        done = self._members("[]", '{\n  "purged": ', 1)
        try:
            async for ids in self._pages(chosen):
                await self._call(self.letters.purge, ids)
                purged += len(ids)
                for id in ids:
                    if done:
                        done.add(id)
                    else:
                        self._write(f"{id}\n")
        finally:
            self._say(f"purged {_words(purged)}")
            if done:
                self._end(done, "\n}")

    async def _call(self, operation: Callable[..., Deferred[T]], *arguments: Any) -> tuple[T, bool]:
        return await self.link.ask_twice(operation, *arguments)

    async def _find(self, id: str) -> DeadLetter:
        letter, _ = await self._call(self.letters.find, id)
        if letter is None:
            raise NotDone(f"{id}: {NOT_MOVED['gone']}")
        return letter

    async def _count(self) -> int:
        return (await self._call(self.letters.count))[0]

    async def _read(self, after: str, count: int) -> Sequence[DeadLetter]:
        return (await self._call(self.letters.read, after, count))[0]

    async def _choose(self) -> Chosen:
        """Return the letters with the given ids, or all."""
        if self.asked.all:
            last, _ = await self._call(self.letters.find_newest)
            return Chosen(await self._count(), await self._read("", _SHOWN), last=last)
        first: Sequence[DeadLetter] = []
        ids = list(dict.fromkeys(self.asked.ids))
        for id in ids:
            letter = await self._find(id)
            if len(first) < _SHOWN:
                first = [*first, letter]
        return Chosen(len(ids), first, ids)

    async def _pages(self, chosen: Chosen) -> AsyncIterator[Sequence[str]]:
        """Yield the chosen ids, a page at a time."""
        if chosen.ids is not None:
            for start in range(0, len(chosen.ids), _PAGE):
                yield chosen.ids[start : start + _PAGE]
            return
        after = ""
        while chosen.last:
            page, _ = await self._call(self.letters.list_ids, after, chosen.last)
            if not page:
                return
            yield page
            after = page[-1]

    def _confirm(self, chosen: Chosen, plan: str) -> None:
        """Show the affected letters and the plan, and ask for confirmation."""
        if not chosen.count:
            return
        if chosen.first:
            self._say(make_table(chosen.first, width_of(self.out))[0])
        if chosen.count > len(chosen.first):
            self._say(f"... and {chosen.count - len(chosen.first)} more")
        self._say(plan)
        if not self.asked.yes and not self.ask("Continue? [y/N] "):
            raise NotDone("nothing was done")

    def _members(self, brackets: str, head: str = "", depth: int = 0) -> Members | None:
        """Start a JSON list or object, if the output is JSON."""
        return Members.begin(self._write, brackets, head, depth) if self.asked.json else None

    def _end(self, members: Members, foot: str = "") -> None:
        members.end()
        self._write(f"{foot}\n")

    def _write(self, text: str) -> None:
        self.out.write(text)

    def _say(self, text: str) -> None:
        self.err.write(f"{text}\n")


def _words(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


async def run_dead(call: Call) -> int:
    """Run the command, and return the exit code."""
    asked = Asked(**{name: value for name, value in call.given.items() if name in attrs.fields_dict(Asked)})
    async with connected(call) as link:
        desk = Desk(asked=asked, link=link, out=call.out, err=call.err, ask=ask)
        await getattr(desk, asked.command)()
    return 0


def ask(question: str) -> bool:
    """
    Ask the user at the terminal.

    This blocks the reactor, so its handler of Ctrl-C is replaced meanwhile;
    otherwise Ctrl-C would have no effect.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return False
    finally:
        signal.signal(signal.SIGINT, before)
