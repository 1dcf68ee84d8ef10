"""
One order for everything that happens in a simulated world.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any, Final, Protocol

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

#: So much happens in no run that ends.
MOST: Final = 400_000


class Owner(Protocol):
    """
    A process to which something happens.

    @ivar alive: what happens to a dead process has no effect.
    @ivar busy_until: when it next looks at what has happened.
    @ivar suspended: whether it looks at nothing, for now.
    @ivar held: what has happened since it was suspended.
    """

    alive: bool
    busy_until: float
    suspended: bool
    held: list[Happening]

    def fail(self, error: Exception) -> None:
        """Record an error that nothing in the process has caught."""


@implementer(IDelayedCall)
class Happening:
    """Something that will happen, as a timer or as a message that arrives."""

    __slots__ = ("arguments", "call", "is_message", "keywords", "order", "owner", "time", "timeline")

    def __init__(
        self,
        timeline: Timeline,
        time: float,
        owner: Owner | None,
        call: Callable[..., object] | None,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        is_message: bool,
    ) -> None:
        self.timeline, self.time, self.owner = timeline, time, owner
        self.call, self.arguments, self.keywords = call, arguments, keywords
        self.is_message = is_message
        self.order = 0

    def getTime(self) -> float:
        return self.time

    def active(self) -> bool:
        return self.call is not None and self.order >= 0

    def cancel(self) -> None:
        self._check()
        self.order = -1
        self.call, self.arguments = None, ()

    def reset(self, secondsFromNow: float) -> None:
        self._check()
        self.timeline.move(self, self.timeline.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        self._check()
        self.timeline.move(self, self.time + secondsLater)

    def _check(self) -> None:
        if self.call is None:
            raise AlreadyCancelled if self.order < 0 else AlreadyCalled


class Timeline:
    """
    Lets things happen in the order of their times.

    Whatever is due while a process is busy or suspended happens to it when it goes
    on: its timers first, then its messages, as in a reactor.

    @ivar now: seconds since the world began.
    @ivar current: to whom something happens now; C{None} if it is the world itself.
    @ivar count: how many things have happened.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Any = None
        self.count = 0
        self._order = 0
        self._heap: list[tuple[float, bool, int, Happening]] = []

    def seconds(self) -> float:
        """Return the time as it is for the process that runs: a handler that blocks takes time."""
        current = self.current
        return self.now if current is None or current.busy_until < self.now else current.busy_until

    def add(
        self,
        time: float,
        owner: Owner | None,
        call: Callable[..., object],
        *arguments: Any,
        is_message: bool = False,
        **keywords: Any,
    ) -> Happening:
        """Let something happen at a time."""
        happening = Happening(self, time, owner, call, arguments, keywords, is_message)
        self._order = happening.order = order = self._order + 1
        heappush(self._heap, (time, False, order, happening))
        return happening

    def move(self, happening: Happening, time: float) -> None:
        """Let something happen at another time."""
        happening.time = time
        self._push(happening, time, False)

    def _push(self, happening: Happening, time: float, late: bool) -> None:
        self._order += 1
        happening.order = self._order
        heappush(self._heap, (time, late, self._order, happening))

    def step(self, limit: float = inf) -> bool:
        """Let the next thing happen, until a time; return whether there was one."""
        heap = self._heap
        while heap and heap[0][0] <= limit:
            time, _, order, happening = heappop(heap)
            if happening.order != order:
                continue  # cancelled or moved
            owner = happening.owner
            if owner is not None:
                if not owner.alive:
                    continue
                if owner.suspended:
                    happening.order = 0
                    owner.held.append(happening)
                    continue
                if owner.busy_until > time:
                    self._push(happening, owner.busy_until, happening.is_message)
                    continue
            if time > self.now:
                self.now = time
            call, happening.call = happening.call, None
            assert call is not None
            self.current = owner
            self.count += 1
            try:
                call(*happening.arguments, **happening.keywords)
            except Exception as error:
                if owner is None:
                    raise
                owner.fail(error)
            finally:
                self.current = None
            return True
        return False

    def go_on(self, owner: Any) -> None:
        """Let everything happen that a process has missed while it was suspended."""
        owner.suspended = False
        held, owner.held = owner.held, []
        for happening in held:
            if happening.call is not None and happening.order == 0:
                self._push(happening, self.now, happening.is_message)

    def run_until(self, time: float) -> None:
        """Let everything happen until a time, or until too much has happened."""
        while self.count < MOST and self.step(time):
            pass
        self.now = max(self.now, time)
