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

#: Most bytes of a small request.
SMALL: Final = 8_192
#: Seconds for which waiting requests are called before the reactor gets a turn.
_SLICE: Final = 0.02


@attrs.define(eq=False)
class Turn:
    """
    The place of a request in the line.

    @ivar size: its size in bytes.
    @ivar call: called when its turn comes: with C{False} if it may be submitted
        now, C{True} if its deadline has passed.
    @ivar since: when it joined the line.
    """

    turns: Turns
    size: int
    call: Callable[[bool], object]
    since: float
    needs: tuple[int, int] = (1, 1)
    #: whether it is in the line
    waits: bool = True

    def leave(self) -> None:
        """Leave the line."""
        self.waits = False
        self.turns.prune()

    def end(self) -> None:
        """Leave the line, as if the deadline had passed."""
        self.leave()
        self.call(True)


@attrs.define(eq=False)
class Turns:
    """
    Requests that find the queue full wait here, unparsed, until it has room.

    # Note [Overload]

    To refuse a request is not cheap: the client posts it again at once, and
    reading and parsing it takes time that is needed to store events.  So no
    request is refused before it has waited L{Limits.wait} seconds.  A waiting
    request costs no CPU: its socket is not read, and its body is parsed once
    there is room.

    Large requests do not hold up small ones: each kind has its own line, and
    the two lines get the same number of bytes in turn.

    A request that needs more room than there is stays at the head of its line.

    @ivar is_open: whether no request waits, so that a new one may be submitted at once.
    """

    appender: Any
    is_open: bool = attrs.field(default=True, init=False)
    _small: deque[Turn] = attrs.field(factory=deque, init=False)
    _large: deque[Turn] = attrs.field(factory=deque, init=False)
    #: bytes of small requests that are called before the next large one
    _credit: int = attrs.field(default=0, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _serving: IDelayedCall | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.appender.backlog.on_room.append(self._on_room)

    def join(self, size: int, call: Callable[[bool], object], full: QueueFull | None = None) -> Turn:
        """Join the end of the line; C{full} says how much room the request needs, if that is known."""
        turn = Turn(self, size, call, self.appender.backlog.clock.seconds())
        if full is not None:
            turn.needs = full.needs
        self._line(turn).append(turn)
        self._arm()
        return turn

    def again(self, turn: Turn, full: QueueFull) -> None:
        """Put a turn that was just called back at the head of its line."""
        turn.needs = full.needs
        turn.waits = True
        self._line(turn).appendleft(turn)
        self._arm()

    def _arm(self) -> None:
        """Close the line to submissions, and set the timer for the oldest request."""
        self.is_open = False
        if self._timer is None:
            backlog = self.appender.backlog
            since = min(line[0].since for line in (self._small, self._large) if line)
            left = since + backlog.limits.wait - backlog.clock.seconds()
            self._timer = backlog.clock.callLater(max(0.0, left), self._expire)

    def _line(self, turn: Turn) -> deque[Turn]:
        return self._small if turn.size <= SMALL else self._large

    def prune(self) -> None:
        """Remove the turns at the head of each line that have left."""
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
        """Serve the line in the next turn of the reactor, after the current batch is sent."""
        if not self.is_open and self._serving is None:
            self._serving = self.appender.backlog.clock.callLater(0, self._serve)

    def _next(self) -> deque[Turn]:
        """Return the line whose turn it is."""
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
                break  # it needs more room than there is
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
            self._log.failure("unexpected error in a request that waited for room in the queue")

    def _expire(self) -> None:
        """Call the turns past their deadline; keep the timer until then, so that L{join} sets no second one."""
        backlog = self.appender.backlog
        now = backlog.clock.seconds()
        for line in self._small, self._large:
            while line and (not line[0].waits or line[0].since + backlog.limits.wait <= now):
                turn = line.popleft()
                if turn.waits:
                    self._call(turn, over=True)
        self._timer = None
        self.prune()
        if not self.is_open:
            self._arm()
