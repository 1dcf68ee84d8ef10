"""
Processes of a simulated world, and the clocks of their hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import attrs
from twisted.application.service import IService

from simulation.world.reactor import SimulatedReactor
from simulation.world.timeline import Happening, Timeline

#: Seconds since the epoch when each world begins.
EPOCH: Final = 1_800_000_000.0


@attrs.define(eq=False)
class WallClock:
    """
    The time of day of one host.

    @ivar rate: how fast it goes.
    """

    timeline: Timeline
    rate: float = 1.0
    _base: float = attrs.field(default=EPOCH, init=False)
    _since: float = attrs.field(default=0.0, init=False)

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._base + (self.timeline.seconds() - self._since) * self.rate

    def change(self, step: float = 0.0, rate: float = 1.0) -> None:
        """Set the clock, and how fast it goes from now on."""
        self._base, self._since = self.time() + step, self.timeline.seconds()
        self.rate = rate


@attrs.define(eq=False)
class Process:
    """
    One life of a process, from its start to its end.

    @ivar name: of its host too.
    @ivar life: how often the name has been started before.
    @ivar alive: whether it runs; what happens to a dead process has no effect.
    @ivar busy_until: as in L{simulation.world.timeline.Owner}, as C{suspended} and C{held} are.
    @ivar ended_at: when it ended.
    @ivar signalled_at: when it was told to stop.
    @ivar exit_code: C{None} while it runs, and if it was killed.
    @ivar log: its log events that have a level of warning or above, or an alarm, with their times.
    @ivar errors: exceptions that nothing in it has caught.
    """

    world: Any
    name: str
    life: int
    random: Random
    wall: WallClock
    alive: bool = attrs.field(default=True, init=False)
    busy_until: float = attrs.field(default=0.0, init=False)
    suspended: bool = attrs.field(default=False, init=False)
    held: list[Happening] = attrs.field(factory=list, init=False)
    exit_code: int | None = attrs.field(default=None, init=False)
    ended_at: float | None = attrs.field(default=None, init=False)
    signalled_at: float | None = attrs.field(default=None, init=False)
    signals: dict[int, Callable[..., object]] = attrs.field(factory=dict, init=False)
    log: list[tuple[float, Mapping[str, Any]]] = attrs.field(factory=list, init=False)
    errors: list[Exception] = attrs.field(factory=list, init=False)
    reactor: SimulatedReactor = attrs.field(init=False)
    service: Any = attrs.field(default=None, init=False)

    @reactor.default
    def _make_reactor(self) -> SimulatedReactor:
        return SimulatedReactor(self)

    @property
    def host(self) -> str:
        return self.name

    def start(self, make: Callable[[SimulatedReactor], IService]) -> None:
        """Start it as C{twistd} does, with the service that is made."""
        timeline = self.world.timeline
        timeline.add(timeline.now, self, self._start, make)

    def _start(self, make: Callable[[SimulatedReactor], IService]) -> None:
        try:
            self.service = service = make(self.reactor)
            service.privilegedStartService()
            service.startService()
            self.reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
            self.reactor.run()
        except SystemExit as end:
            self.end(end.code if isinstance(end.code, int) else 1)

    def signal(self, number: int) -> None:
        """Send a signal that it handles."""
        timeline = self.world.timeline
        timeline.add(timeline.now, self, self._signalled, number, is_message=True)

    def _signalled(self, number: int) -> None:
        self.signalled_at = self.world.timeline.now
        handler = self.signals.get(number)
        if handler is None:
            self.kill()
        else:
            handler(number, None)

    def block(self, seconds: float) -> None:
        """Let the code that runs now take time."""
        self.busy_until = self.world.timeline.seconds() + seconds

    def fail(self, error: Exception) -> None:
        """Record an error that nothing in the process has caught."""
        self.errors.append(error)

    def end(self, code: int) -> None:
        """End the process with an exit code."""
        if self.alive:
            self.exit_code = self.exit_code or code
            self.kill()
            self.world.ended(self)

    def kill(self, with_word: bool = True) -> None:
        """End the process at once; its kernel tells others unless the power fails."""
        self.alive = False
        self.ended_at = self.world.timeline.now
        self.held.clear()
        self.world.network.drop(self, with_word)
