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
    #: when looks began to follow each other without a gap
    _steady: float = attrs.field(default=0.0, init=False)
    #: by group: when its oldest pending event was stored, and since when it is that one, by the clock of Redis
    _oldest: Mapping[str, tuple[float, float]] | None = attrs.field(default=None, init=False)
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
        processes = [attrs.evolve(seen, age=seen.age + age) for seen in self._seen.processes]
        return attrs.evolve(self._seen, problem=problem, alarms=alarms, processes=processes)

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
        if now - self._taken > _OLD:
            self._steady = now
        alarms = find_alarms(state, processes, rates, held=self._held(state))
        self._taken = now
        self._seen = Overview(
            stream=self.stream,
            state=attrs.evolve(state, problems=problems),
            processes=processes,
            earlier=earlier,
            rates=rates,
            # after an outage processes have a moment to be heard again
            alarms=[each for each in alarms if each.name != "AProcessIsSilent" or now - self._steady >= _OLD],
        )

    def _held(self, state: StreamState) -> Mapping[str, float]:
        """Return for how long the oldest pending event of each group is the same; its age at the first look."""
        oldest = dict[str, tuple[float, float]]()
        for group in state.groups:
            if age := group.measures.pending_age:
                stored = state.now - age  # measured a moment later, so to a second only
                since = stored if self._oldest is None else state.now
                before = (self._oldest or {}).get(group.name, (stored, since))
                oldest[group.name] = before if abs(before[0] - stored) < 1.0 else (stored, since)
        self._oldest = oldest
        return {name: state.now - since for name, (_, since) in oldest.items()}

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
