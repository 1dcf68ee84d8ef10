"""
Keeps how far groups are behind, for metrics and scalers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.errors import Refused, Unknown
from eventsvc.measures import Measures
from eventsvc.net.background import run_in_background

#: Seconds between two measurements.
EVERY: Final = 2.0


@attrs.define(eq=False)
class Lag:
    """
    Measures a stream and its group, and keeps the last result.

    @ivar ask: measures them now.
    @ivar lifetime: seconds after which a result is too old to be reported.
    @ivar problem: why something was not known the last time; empty if all was.
    """

    stream: str
    group: str
    ask: Callable[[], Deferred[Measures]]
    clock: IReactorTime
    lifetime: float
    problem: str = attrs.field(default="", init=False)
    _measures: Measures | None = attrs.field(default=None, init=False)
    _taken: float = attrs.field(default=0.0, init=False)
    _log = Logger()

    async def measure(self) -> None:
        """Measure, keep the result, and log why something is not known, once."""
        measures = await self.ask()
        self._measures, self._taken = measures, self.clock.seconds()
        if measures.problem not in ("", self.problem):
            self._log.warn(
                "how far group {group} is behind in stream {stream} is not known: {problem}",
                group=self.group,
                stream=self.stream,
                problem=measures.problem,
            )
        self.problem = measures.problem

    def latest(self) -> Measures | None:
        """Return the last result, unless it is too old."""
        return self._measures if self.clock.seconds() - self._taken <= self.lifetime else None


@attrs.define(eq=False)
class Watch:
    """
    Measures several groups every two seconds while Redis can be reached.

    One is measured after the other, so that what else uses the connection never
    waits for more than one.
    """

    lags: Sequence[Lag]
    clock: IReactorTime
    is_ready: Callable[[], bool]
    _due: float = attrs.field(default=0.0, init=False)
    _asking: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def look(self) -> None:
        """Begin to measure if it is due; call this at each beat."""
        if not self._asking and self._due <= self.clock.seconds() and self.is_ready():
            self._asking = True
            run_in_background(self._measure(), self._log)

    async def _measure(self) -> None:
        try:
            for lag in self.lags:
                await lag.measure()
        except (Refused, Unknown):
            pass  # the results grow old
        finally:
            self._asking = False
            self._due = self.clock.seconds() + EVERY
