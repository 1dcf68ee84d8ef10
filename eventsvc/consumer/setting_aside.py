"""
Moves entries to the dead letters, and retries while Redis refuses that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery import SetAside
from eventsvc.consumer.open_entries import OpenEntries
from eventsvc.interfaces import IEventGroup
from eventsvc.net.background import run_in_background
from eventsvc.text import shorten

#: Seconds between two attempts, first and longest.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0

#: Entries that may wait; those that come then hold up the line.
MOST: Final = 1_000

#: Seconds between two attempts of an entry that holds up the line.
_PAUSE: Final = 0.5


@attrs.frozen
class Letter:
    """An entry on its way to the dead letters."""

    id: str
    reason: str
    error: str
    deliveries: int

    @classmethod
    def of(cls, id: str, action: SetAside, deliveries: int) -> Letter:
        """Return the letter for an action, with its error cut to a bounded length."""
        return cls(id, action.reason, shorten(action.error), deliveries)


@attrs.define(eq=False)
class SettingAside:
    """
    Moves entries to the dead letters, and retries if that fails.

    A dead letter needs memory, which a full Redis does not have.  A refused
    letter waits here without its event, so that later entries are handled.

    @ivar open: told when an entry is moved, or is not ours any more.
    @ivar refused: failed attempts so far.
    """

    group: IEventGroup
    open: OpenEntries
    clock: IReactorTime
    jitter: Callable[[], float]
    counts: ConsumerCounts
    refused: int = attrs.field(default=0, init=False)
    _waiting: deque[Letter] = attrs.field(factory=deque, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _problem: str = attrs.field(default="", init=False)
    _log = Logger()

    def __len__(self) -> int:
        return len(self._waiting)

    async def move(self, letter: Letter) -> bool:
        """Set an entry aside; return C{False} if it waits here for the next attempt."""
        while not await self._attempt(letter):
            if self._put(letter):
                return False
            await deferLater(self.clock, _PAUSE)
        return True

    async def _attempt(self, letter: Letter) -> bool:
        """Try once; return whether the letter is done."""
        if letter.id in self.open.lost:
            self.open.forget([letter.id])
            return True
        if self.open.in_doubt:
            return False
        try:
            moved = await self.group.set_aside(letter.id, letter.reason, letter.error, letter.deliveries)
        except CancelledError:
            raise
        except Exception as error:
            self.refused += 1
            self._tell(letter, f"{error}")
            return False
        self._problem = ""
        if moved:
            self.counts.dead += 1
            self._log.error(
                "moved entry {id} to the dead letters, {why}: {error}",
                id=letter.id,
                why=letter.reason,
                error=letter.error,
                details={"alarm": "dead_letter"},
            )
        self.open.forget([letter.id])
        return True

    def _put(self, letter: Letter) -> bool:
        """Queue a letter for retries; return whether there was room for it."""
        if len(self._waiting) >= MOST:
            return False
        self._waiting.append(letter)
        if self._running is None:
            self._running = run_in_background(self._run(), self._log)
        return True

    def drop(self, ids: Collection[str]) -> None:
        """Drop letters whose entries are not ours any more."""
        for letter in [letter for letter in self._waiting if letter.id in ids]:
            self._waiting.remove(letter)
            self.open.forget([letter.id])

    def stop(self) -> None:
        """Stop retrying; the remaining entries stay pending."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while self._waiting:
            await deferLater(self.clock, pause * (0.5 + 0.5 * self.jitter()))
            pause = min(2 * pause, _LONGEST_PAUSE)
            while self._waiting:
                letter = self._waiting[0]
                done = await self._attempt(letter)
                if letter in self._waiting:  # it may have been dropped meanwhile
                    self._waiting.remove(letter)
                    if not done:
                        self._waiting.append(letter)
                if not done:
                    break
        self._running = None

    def _tell(self, letter: Letter, problem: str) -> None:
        """Log a problem once, until an attempt succeeds."""
        if problem != self._problem:
            self._problem = problem
            self._log.warn("cannot set entry {id} aside, retrying: {problem}", id=letter.id, problem=problem)
