"""
Clocks that stand still until a test advances them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


class StrictClock(Clock):
    """A clock that rejects a negative delay, as reactors do."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> IDelayedCall:
        assert delay >= 0.0, delay
        return super().callLater(delay, *args, **kw)


@implementer(IReactorTime)
@attrs.define(eq=False)
class ProcessClock:
    """
    The clock of a process, whose timers are lost when the process is killed.

    @ivar current: the clock of the process that runs now.
    """

    current: StrictClock = attrs.field(factory=StrictClock, init=False)

    def seconds(self) -> float:
        return self.current.seconds()

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        return self.current.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self.current.getDelayedCalls()

    def lose_timers(self) -> None:
        """Forget all timers, as the end of a process does; the time stays."""
        now, self.current = self.current.seconds(), StrictClock()
        self.current.advance(now)


class Advanced(Protocol):
    """A clock that a test advances."""

    def seconds(self) -> float: ...
    def advance(self, seconds: float, /) -> None: ...
    def getDelayedCalls(self) -> Sequence[IDelayedCall]: ...


def run_clock(clock: Advanced, seconds: float) -> None:
    """Advance a clock from one timer to the next."""
    end = clock.seconds() + seconds
    while (first := min([call.getTime() for call in clock.getDelayedCalls()], default=inf)) <= end:
        clock.advance(max(0.0, first - clock.seconds()))
    clock.advance(max(0.0, end - clock.seconds()))
