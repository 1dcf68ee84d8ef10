"""
Watches a stream all the time: rates, alarms, and the figures of the last hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.dashboard.alarms import find_alarms
from eventsvc.dashboard.overview import Overview, to_point
from eventsvc.dashboard.point import PLACES, Point
from eventsvc.dashboard.rates import find_rates
from eventsvc.errors import Refused, Unknown
from eventsvc.heartbeat import Heartbeat, SeenHeartbeat
from eventsvc.net.background import run_in_background
from eventsvc.stream_state import StreamState

#: Seconds over which rates are taken.
_WINDOW: Final = 10.0
#: Seconds after which what was seen is too old to be shown as it is.
_OLD: Final = 5.0


class ReadsProcesses(Protocol):
    """The heartbeats of a stream; as L{eventsvc.redis.processes.Processes}."""

    problem: str

    def read(self) -> Deferred[Sequence[SeenHeartbeat]]: ...


class KeepsHour(Protocol):
    """The figures of the last hour; as L{eventsvc.redis.hour.Hour}."""

    problem: str

    def keep(self, point: Point) -> Deferred[None]: ...
    def read(self) -> Deferred[Sequence[Point]]: ...


@attrs.define(eq=False)
class Watch:
    """
    Looks at a stream once a second, and keeps a point every five seconds.

    @ivar survey: looks at the stream.
    @ivar why_not: returns why Redis cannot be asked; empty if it can.
    """

    stream: str
    survey: Callable[[], Awaitable[StreamState]]
    processes: ReadsProcesses
    ring: KeepsHour
    clock: IReactorTime
    why_not: Callable[[], str]
    hour: Sequence[Point] = attrs.field(default=(), init=False)
    _seen: Overview = attrs.field(init=False)
    _taken: float = attrs.field(default=0.0, init=False)
    _looking: bool = attrs.field(default=False, init=False)
    _number: int = attrs.field(default=0, init=False)
    #: what was seen in the last seconds, and when
    _window: deque[tuple[float, Mapping[str, Heartbeat]]] = attrs.field(factory=deque, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._seen = Overview(stream=self.stream)

    @property
    def overview(self) -> Overview:
        """What is known now; an alarm says so if that is old."""
        problem = self.why_not()
        age = self.clock.seconds() - self._taken
        if not problem and self._seen.state is not None and age >= _OLD:
            problem = f"Redis has not answered for {age:.0f} s"
        if not problem:
            return self._seen
        alarms = find_alarms(None, (), self._seen.rates, problem)
        return attrs.evolve(self._seen, problem=problem, alarms=alarms)

    def look(self) -> None:
        """Begin to look, unless that is under way or Redis cannot be reached; call this at each beat."""
        if not self._looking and not self.why_not():
            self._looking = True
            run_in_background(self._look(), self._log)

    async def _look(self) -> None:
        try:
            self._take(await self.survey(), await self.processes.read())
            await self._keep()
        except (Refused, Unknown):
            pass  # what was seen grows old
        finally:
            self._looking = False

    def _take(self, state: StreamState, processes: Sequence[SeenHeartbeat]) -> None:
        now = self.clock.seconds()
        while self._window and self._window[0][0] < now - _WINDOW:
            self._window.popleft()
        earlier: dict[str, Heartbeat] = {}
        for _, beats in reversed(self._window):
            earlier.update(beats)
        self._window.append((now, {seen.heartbeat.id: seen.heartbeat for seen in processes}))
        rates = find_rates(processes, earlier)
        problems = [*state.problems, *([self.processes.problem] if self.processes.problem else [])]
        self._taken = now
        self._seen = Overview(
            stream=self.stream,
            state=attrs.evolve(state, problems=problems),
            processes=processes,
            earlier=earlier,
            rates=rates,
            alarms=find_alarms(state, processes, rates),
        )

    async def _keep(self) -> None:
        """Keep a point of a moment that is new, and read those that others have kept."""
        seen = self._seen
        assert seen.state is not None
        point = to_point(seen.state, seen.rates, seen)
        if point.number == self._number:
            return
        self._number = point.number
        await self.ring.keep(point)
        self.hour = [*self.hour, point][-PLACES:] if self.ring.problem else await self.ring.read()
