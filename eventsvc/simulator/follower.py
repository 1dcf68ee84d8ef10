"""
Follows events through the stream and its group, from beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import attrs
import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.errors import Refused, Unknown
from eventsvc.event import EVENT_FIELD, place_of
from eventsvc.net.background import run_in_background
from eventsvc.outcome import Outcome
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.ledger import EntryId, Ledger

#: Seconds between two looks: how exact the times are at which events are handled.
PAUSE: Final = 0.05
#: Seconds for which nothing may change once all is posted, until the rest is given up.
PATIENCE: Final = 45.0
#: Seconds that the last looks may take, once the traffic was stopped.
LAST: Final = 2.0
#: How often the first look may be refused.
_ATTEMPTS: Final = 5
#: The most entries of a page, and about the most bytes.
_PAGE: Final = 1_000
_PAGE_BYTES: Final = 4_194_304
#: What an entry is taken to weigh before any was seen, in bytes.
_UNSEEN: Final = 262_144


class CannotFollow(Exception):
    """The stream cannot be read; the text says why."""


class IProgress(Protocol):
    """A stream and one of its groups: L{eventsvc.redis.progress.StreamProgress}."""

    async def find_newest(self) -> str: ...

    async def find_oldest(self) -> str: ...

    async def read(self, first: str, count: int) -> Sequence[tuple[str, bytes, bytes]]: ...

    async def find_frontier(self) -> EntryId: ...

    async def find_newest_dead(self) -> str: ...

    async def read_dead(self, after: str) -> tuple[str, Sequence[EntryId]]: ...


class _Numbered(msgspec.Struct):
    id: int


@attrs.define(eq=False, slots=False)
class Follower(Service):
    """
    Reads the entries of a stream as they come, and how far its group is.

    # Note [Trimmed before it was seen]

    A missing entry may be lost, or handled and trimmed before it could be read.  So
    a page begins with the last entry of the page before.  If that is gone, and older
    ones are too, entries behind it may have been trimmed unseen::

        stream    1 2 3                    4 5 6 7, trims 1 to 5          6 7
        we        read 1 to 3                         read from 3:  3 is gone, 6 is the oldest

    If older ones are still there, Redis has gone back in time, as after a failover to
    a replica that lags, and the stream is read from its beginning.
    """

    progress: IProgress
    ledger: Ledger
    clock: IReactorTime
    _position: str = attrs.field(default="0-0", init=False)
    _after_dead: str = attrs.field(default="", init=False)
    _dead: set[EntryId] = attrs.field(factory=set, init=False)
    _largest: int = attrs.field(default=_UNSEEN, init=False)
    #: whether what is unseen is not in the stream; known once all is posted
    is_sure: bool = attrs.field(default=False, init=False)
    _looks: int = attrs.field(default=0, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _trouble: str = attrs.field(default="", init=False)
    _log = Logger()

    async def begin(self) -> None:
        """
        Wait for a connection, note where the stream ends, and follow it from there.

        @raise CannotFollow: Redis refuses it.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._position = await self.progress.find_newest() or "0-0"
                self._after_dead = await self.progress.find_newest_dead()
                await self.progress.find_frontier()
                break
            except (Refused, Unknown) as error:
                if attempt + 1 == _ATTEMPTS:
                    raise CannotFollow(str(error)) from None
            await deferLater(self.clock, 1.0)
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    def observe(self, attempt: Attempt) -> None:
        """Take the ids of the events of an attempt."""
        if attempt.outcome is Outcome.OK:
            for event in attempt.ids:
                self.ledger.accept(event, attempt.intended)

    async def settle(self) -> None:
        """Wait until all events are handled or set aside, or nothing has changed for L{PATIENCE} seconds."""
        since, before = self.clock.seconds(), self._left()
        while any(left := self._left()):
            now = self.clock.seconds()
            if left != before:
                since, before = now, left
            if now - since >= PATIENCE:
                self._log.warn(
                    "gave up after {patience:g} s without progress: {unseen} events not seen in the stream, "
                    "{unhandled} not handled",
                    patience=PATIENCE,
                    unseen=left[0],
                    unhandled=left[1],
                )
                return
            await deferLater(self.clock, PAUSE)

    async def finish(self) -> None:
        """Look once more after all is posted, and for a moment wait for what is not handled yet."""
        end, looks = self.clock.seconds() + LAST, self._looks + 2  # the one under way began before
        while any(self._left()) and self.clock.seconds() < end:
            await deferLater(self.clock, PAUSE)
        self.is_sure = self._looks >= looks

    def _left(self) -> tuple[int, int]:
        return self.ledger.unseen, self.ledger.unhandled

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
                self._looks += 1
                self._trouble = ""
            except (Refused, Unknown, ValueError) as error:  # or a dead letter that is none
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    self._log.warn("cannot follow the stream at present: {problem}", problem=self._trouble)
            await deferLater(self.clock, PAUSE)

    async def look(self) -> None:
        """Take what is new in the stream, and what the group has done."""
        while await self._read_page():
            pass
        frontier = await self.progress.find_frontier()
        # After the frontier: what was set aside before it is among the letters now.
        while (page := await self.progress.read_dead(self._after_dead))[0] != self._after_dead:
            self._after_dead = page[0]
            self._dead.update(page[1])
        self.ledger.advance(frontier, self._dead, self.clock.seconds())
        seen = place_of(self._position)
        self._dead = {entry for entry in self._dead if entry >= frontier or entry > seen}

    async def _read_page(self) -> bool:
        """Read the entries after the position; return whether there may be more."""
        count = max(2, min(_PAGE, _PAGE_BYTES // self._largest))
        page = await self.progress.read(self._position, count)
        if self._position != "0-0":
            if not page or page[0][0] != self._position:
                await self._lose_position()
                return True
            page = page[1:]
        now = self.clock.seconds()
        for id, name, value in page:
            if name == EVENT_FIELD:
                try:
                    self.ledger.see(place_of(id), msgspec.json.decode(value, type=_Numbered).id, now)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
        if page:
            self._position = page[-1][0]
            self._largest = max(1, *[len(value) for _, _, value in page], self._largest * 4 // 5)
        return len(page) >= count - 1

    async def _lose_position(self) -> None:
        """Go on without the last entry: from the oldest one if it was trimmed, else from the beginning."""
        oldest = await self.progress.find_oldest()
        if oldest and place_of(oldest) > place_of(self._position):
            self.ledger.trimmed = True
        else:
            self.ledger.start_again()
        self._position = "0-0"
