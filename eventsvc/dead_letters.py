"""
What people do with dead letters: look at them, send them back, delete them.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from typing import Any, Final, TextIO, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.event import format_timestamp
from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.connection import Connection, ErrorReply
from eventsvc.redis.dead import NOT_MOVED, DeadLetter, DeadLetters
from eventsvc.settings import RedisSettings

T = TypeVar("T")

#: Seconds to wait for Redis before giving up.
PATIENCE: Final = 5.0
#: Letters of a plan that are shown.
_SHOWN: Final = 20
#: Ids in one call.
_PAGE: Final = 500


class NotDone(Exception):
    """What was asked for was not done, or not all of it; the text says why."""


@attrs.frozen(kw_only=True)
class Desk:
    """
    Does what was asked with the dead letters of a stream.

    Each command is a method of its name, and raises L{NotDone} if there is
    something it could not do.

    @ivar asked: the command line.
    @ivar ask: puts a question to a person.
    """

    asked: argparse.Namespace
    redis: RedisSettings
    connection: Connection
    clock: IReactorTime
    out: TextIO
    err: TextIO
    ask: Callable[[str], bool]

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.connection, self.redis.stream)

    async def list(self) -> None:
        letters = await self._all()
        text = make_table(letters, self._width()) if letters else ""
        self._give([letter.id for letter in letters], [describe(letter) for letter in letters], text)
        self._say(f"{_count(letters)} of {self.redis.stream}")

    async def show(self) -> None:
        letter = await self._find(self.asked.id)
        self._give([letter.id], describe(letter), make_sheet(letter))

    async def replay(self) -> None:
        letters = await self._chosen()
        self._confirm(
            letters,
            f"{_count(letters)} will go back to the end of {self.redis.stream}; "
            "every group that reads it gets the events again.",
        )
        moved: dict[str, str | None] = {}
        failed: dict[str, str] = {}
        try:
            for letter in letters:
                answer, in_doubt = await self._call(self.letters.replay, letter.id)
                if answer == "gone" and in_doubt:
                    moved[letter.id] = None  # by the try whose answer was lost
                elif answer in NOT_MOVED:
                    failed[letter.id] = NOT_MOVED[answer]
                else:
                    moved[letter.id] = answer
        finally:
            text = "\n".join(f"{id} -> {place or '(the answer was lost)'}" for id, place in moved.items())
            self._give(list(moved), {"replayed": moved, "failed": failed}, text)
            self._say(f"replayed {len(moved)} of {_count(letters)}")
        if failed:
            raise NotDone("\n".join(f"{id}: {why}" for id, why in failed.items()))

    async def purge(self) -> None:
        letters = await self._chosen()
        self._confirm(letters, f"{_count(letters)} of {self.redis.stream} will be deleted for good.")
        ids = [letter.id for letter in letters]
        for start in range(0, len(ids), _PAGE):
            await self._call(self.letters.purge, ids[start : start + _PAGE])
        self._give(ids, {"purged": ids}, "\n".join(ids))
        self._say(f"purged {_count(letters)}")

    async def _call(self, operation: Callable[..., Deferred[T]], *arguments: Any) -> tuple[T, bool]:
        """
        Try an operation that may be done twice, until it is answered.

        Gives the answer, and whether an earlier try was left without one.
        """
        deadline = self.clock.seconds() + PATIENCE
        in_doubt = False
        problem = f"no connection within {PATIENCE:g} s"
        while (left := deadline - self.clock.seconds()) > 0:
            try:
                await self.connection.when_ready().addTimeout(left, self.clock)
                return await operation(*arguments), in_doubt
            except TimeoutError:
                break
            except ErrorReply as error:
                raise NotDone(f"Redis refuses: {error}") from None
            except (Refused, Unknown) as error:
                in_doubt = in_doubt or isinstance(error, Unknown)
                problem = str(error)
            await deferLater(self.clock, 0.1)
        raise NotDone(f"cannot use Redis at {self.redis.host}:{self.redis.port}: {problem}")

    async def _find(self, id: str) -> DeadLetter:
        letter, _ = await self._call(self.letters.find, id)
        if letter is None:
            raise NotDone(f"{id}: {NOT_MOVED['gone']}")
        return letter

    async def _all(self) -> Sequence[DeadLetter]:
        found: Sequence[DeadLetter] = []
        while True:
            page, _ = await self._call(self.letters.read, found[-1].id if found else "")
            if not page:
                return found
            found = [*found, *page]

    async def _chosen(self) -> Sequence[DeadLetter]:
        """The letters that were named, or all."""
        if self.asked.all:
            return await self._all()
        return [await self._find(id) for id in dict.fromkeys(self.asked.ids)]

    def _confirm(self, letters: Sequence[DeadLetter], plan: str) -> None:
        """Show what will be done, and have somebody agree to it."""
        if not letters:
            return
        self._say(make_table(letters[:_SHOWN], self._width()))
        if len(letters) > _SHOWN:
            self._say(f"... and {len(letters) - _SHOWN} more")
        self._say(plan)
        if not self.asked.yes and not self.ask("Go on? [y/N] "):
            raise NotDone("nothing was done")

    def _give(self, ids: Sequence[str], as_json: object, text: str) -> None:
        """Write the result in the form that was asked for."""
        if self.asked.quiet:
            text = "\n".join(ids)
        elif self.asked.json:
            text = msgspec.json.format(msgspec.json.encode(as_json)).decode()
        if text:
            self.out.write(f"{text}\n")

    def _say(self, text: str) -> None:
        self.err.write(f"{text}\n")

    def _width(self) -> int | None:
        return shutil.get_terminal_size().columns if self.out.isatty() else None


def _count(letters: Sequence[DeadLetter]) -> str:
    return f"{len(letters)} dead letter{'' if len(letters) == 1 else 's'}"


def describe(letter: DeadLetter) -> dict[str, Any]:
    """A letter as JSON; bytes that are no UTF-8 are escaped."""
    return {
        "id": letter.id,
        "entry": letter.original,
        "set_aside": _when(letter),
        "reason": letter.reason,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "group": letter.group,
        "consumer": letter.consumer,
        "fields": {_text(name): _text(value) for name, value in letter.fields},
    }


def make_table(letters: Sequence[DeadLetter], width: int | None) -> str:
    """
    Letters as a table.

    @param width: columns of the terminal, past which a line is cut off.
    """
    rows = [("ID", "ENTRY", "SET ASIDE", "REASON", "DELIVERIES", "ERROR")]
    for each in letters:
        rows.append((each.id, each.original, _when(each), each.reason, str(each.deliveries), each.error))
    cells = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join(line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines)


def make_sheet(letter: DeadLetter) -> str:
    """All of one letter."""
    about = describe(letter)
    fields = about.pop("fields") or {"fields": "none: they were trimmed with the entry"}
    parts = [(_printable(name.replace("_", " ")), _printable(str(value))) for name, value in (about | fields).items()]
    width = max(len(name) for name, _ in parts)
    return "\n".join(f"{name:{width}}  {value}" for name, value in parts)


def _when(letter: DeadLetter) -> str:
    """When it was set aside: RFC 3339, in UTC."""
    return format_timestamp(int(letter.id.partition("-")[0]) * 1_000_000)[:19] + "Z"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    """Text on one line, that does nothing to a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
