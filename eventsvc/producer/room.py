"""
Keeps room for new events in a Redis whose memory is full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.errors import Refused, Unknown
from eventsvc.memory import HISTORY_SHARE, Memory
from eventsvc.net.background import run_in_background

#: Seconds between two looks at the memory while nothing is refused.
_EVERY: Final = 5.0
#: Seconds after which nobody says any more that Redis is full.
_QUIET: Final = 30.0
#: The longest that one look may trim, in seconds.
_LONGEST: Final = 0.2


class History(Protocol):
    """The acknowledged entries of the streams of a producer, and the memory of the server that has them."""

    def memory(self) -> Deferred[Memory]:
        """Fire with the memory of the server."""

    def trim(self) -> Deferred[int]:
        """Remove some acknowledged entries, and fire with their number; 0: there are none."""


@attrs.define(eq=False)
class Room:
    """
    Lets history give way when memory is short, and says when new events are refused.

    Consumers do the same for their stream.  Producers do it too, because
    consumers may be away, or foreign ones that do not trim.

    # Note [Full or not]

    A batch may be refused that is larger than what is left, while smaller ones
    are stored.  So the memory in use does not say whether events are refused::

        refused, nothing to trim                -> full
        refused, and some entries gave way      -> not full: the batch is sent again
        not refused since, and a batch stored   -> not full
        not refused since, and memory enough    -> not full
        not refused for a while, and some left  -> not full: it was such a batch, or memory was added

    @ivar share: of the memory limit, past which history gives way.
    @ivar count_batches: returns a number that grows with each batch that is stored.
    @ivar memory: what the server used at the last look.
    @ivar is_full: whether new events are refused.
    @ivar trimmed: entries removed so far.
    """

    history: History
    clock: IReactorTime
    count_batches: Callable[[], int]
    share: float = HISTORY_SHARE
    memory: Memory = attrs.field(factory=Memory, init=False)
    is_full: bool = attrs.field(default=False, init=False)
    trimmed: int = attrs.field(default=0, init=False)
    _refused: bool = attrs.field(default=False, init=False)
    _refused_at: float = attrs.field(default=0.0, init=False)
    _batches: int = attrs.field(default=0, init=False)
    _looking: Deferred[None] | None = attrs.field(default=None, init=False)
    _due: float = attrs.field(default=0.0, init=False)
    _log = Logger()

    def refused(self) -> None:
        """Note that Redis refused a batch for want of memory, and make room."""
        self._refused = True
        self._refused_at = self.clock.seconds()
        self._batches = self.count_batches()
        self._look()

    def beat(self) -> None:
        """Look at the memory if that is due; call this about once a second."""
        if self.is_full or self.clock.seconds() >= self._due:
            self._look()

    def _look(self) -> None:
        if self._looking is None or self._looking.called:
            self._due = self.clock.seconds() + _EVERY
            self._looking = run_in_background(self._make_room(), self._log)

    async def _make_room(self) -> None:
        refused, self._refused = self._refused, False
        removed, problem = 0, ""
        try:
            self.memory = await self.history.memory()
        except (Refused, Unknown):
            return  # the connection is lost: the next look will tell
        try:
            removed = await self._trim(refused)
        except Refused as error:
            problem = str(error)
        except Unknown:
            return
        if refused and not removed:
            self._begin(problem)
        elif self.is_full and not self._refused and self._has_room():
            self.is_full = False
            self._log.info("Redis takes new events again")

    async def _trim(self, refused: bool) -> int:
        """Let history give way, until memory is enough, nothing is left or the time is up; return its entries."""
        end, removed = self.clock.seconds() + _LONGEST, 0
        while refused or self.memory.share > self.share:
            step = await self.history.trim()
            removed += step
            self.trimmed += step
            if not step or self.clock.seconds() >= end:
                break
            refused = False
            self.memory = await self.history.memory()
        return removed

    def _has_room(self) -> bool:
        """Return whether new events would be stored; a server whose memory is not known must have stored some."""
        if self.count_batches() > self._batches:
            return True
        if not self.memory.used:
            return False
        is_quiet = self.clock.seconds() - self._refused_at >= _QUIET
        return self.memory.share <= self.share or (is_quiet and self.memory.share < 1)

    def _begin(self, problem: str) -> None:
        if self.is_full:
            return
        self.is_full = True
        self._log.error(
            "Redis is full: new events are refused until memory is freed. {why}",
            why=f"History could not be trimmed: {problem}" if problem else "No acknowledged entry is left to trim",
            details={"alarm": "redis_full"},
        )
