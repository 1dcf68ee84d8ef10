"""
The requests that wait for room in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from eventsvc.interfaces import QueueFull

#: Most bytes of a request that counts as small.
SMALL: Final = 8_192
#: Seconds for which requests are let in one after another, before the reactor has a turn.
_SLICE: Final = 0.02


@attrs.define(eq=False)
class Turn:
    """
    The place of a request in the line.

    @ivar size: its bytes.
    @ivar call: told when it is its turn: C{False} if it may be submitted now,
        C{True} if its time is over.
    @ivar since: when it joined.
    """

    turns: Turns
    size: int
    call: Callable[[bool], object]
    since: float
    needs: tuple[int, int] = (1, 1)
    #: whether it is in the line
    waits: bool = True

    def leave(self) -> None:
        """Give the place up."""
        self.waits = False
        self.turns.prune()

    def end(self) -> None:
        """Give the place up, as if its time were over."""
        self.leave()
        self.call(True)


@attrs.define(eq=False)
class Turns:
    """
    Who finds the queue full waits here, unparsed, until there is room.

    # Note [Overload]

    Refusing what does not fit sounds cheap, and is not: a client that is refused
    posts again at once, and reading and parsing what will be refused takes the
    time that storing needs.  So nobody is refused before L{Limits.wait} is
    over.  Who waits costs nothing: its socket is not read, and its body
    is parsed when there is room.

    Large requests do not hold up small ones: there is a line for each kind, and
    for each byte that a large one brings, a small one may bring one.

    A request that needs more room than there is stays at the head of its line.

    @ivar is_open: nobody waits: who comes may try at once.
    """

    appender: Any
    is_open: bool = attrs.field(default=True, init=False)
    _small: deque[Turn] = attrs.field(factory=deque, init=False)
    _large: deque[Turn] = attrs.field(factory=deque, init=False)
    #: bytes that small ones may bring before it is a large one's turn
    _credit: int = attrs.field(default=0, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _serving: IDelayedCall | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.appender.backlog.on_room.append(self._on_room)

    def join(self, size: int, call: Callable[[bool], object], full: QueueFull | None = None) -> Turn:
        """Wait at the end of the line; C{full} says how much room it takes, if that is known."""
        turn = Turn(self, size, call, self.appender.backlog.clock.seconds())
        if full is not None:
            turn.needs = full.needs
        self._line(turn).append(turn)
        self._arm()
        return turn

    def again(self, turn: Turn, full: QueueFull) -> None:
        """Go on waiting at the head of the line: to be called by a turn that was called."""
        turn.needs = full.needs
        turn.waits = True
        self._line(turn).appendleft(turn)
        self._arm()

    def _arm(self) -> None:
        """Somebody waits."""
        self.is_open = False
        if self._timer is None:
            backlog = self.appender.backlog
            since = min(line[0].since for line in (self._small, self._large) if line)
            left = since + backlog.limits.wait - backlog.clock.seconds()
            self._timer = backlog.clock.callLater(max(0.0, left), self._expire)

    def _line(self, turn: Turn) -> deque[Turn]:
        return self._small if turn.size <= SMALL else self._large

    def prune(self) -> None:
        """Forget those at the head of each line that have left."""
        for line in self._small, self._large:
            while line and not line[0].waits:
                line.popleft()
        self.is_open = not (self._small or self._large)
        if self.is_open:
            for call in self._timer, self._serving:
                if call is not None and call.active():
                    call.cancel()
            self._timer = self._serving = None

    def _on_room(self) -> None:
        """There may be room: see to it once what goes out now is on its way."""
        if not self.is_open and self._serving is None:
            self._serving = self.appender.backlog.clock.callLater(0, self._serve)

    def _next(self) -> deque[Turn]:
        """The line whose turn it is."""
        return self._small if self._small and (self._credit > 0 or not self._large) else self._large

    def _serve(self) -> None:
        self._serving = None
        backlog = self.appender.backlog
        until = backlog.clock.seconds() + _SLICE
        while line := self._next():
            turn = line[0]
            if not (not turn.waits or backlog.fits(*turn.needs)):
                break
            line.popleft()
            if not turn.waits:
                continue
            self._call(turn, over=False)
            if line and line[0] is turn:
                break  # it takes more room than there is
            self._credit = turn.size if line is self._large else self._credit - turn.size
            if backlog.clock.seconds() > until:
                self._on_room()
                break
        self.prune()

    def _call(self, turn: Turn, over: bool) -> None:
        turn.waits = False
        try:
            turn.call(over)
        except Exception:
            self._log.failure("a request that waited failed in an unexpected way")

    def _expire(self) -> None:
        """Call those whose time is over; the timer stands until then, so that L{join} sets no second one."""
        backlog = self.appender.backlog
        oldest = backlog.clock.seconds() - backlog.limits.wait
        for line in self._small, self._large:
            while line and (not line[0].waits or line[0].since <= oldest):
                turn = line.popleft()
                if turn.waits:
                    self._call(turn, over=True)
        self._timer = None
        self.prune()
        if not self.is_open:
            self._arm()
