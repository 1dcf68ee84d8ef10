"""
A simulated world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any, TypeVar

from twisted.logger import LogLevel

from eventsvc.settings.reading import read
from eventsvc.tap.parts.producer import make_producer
from simulation.world.network import Network
from simulation.world.process import Process, WallClock
from simulation.world.reactor import SimulatedReactor
from simulation.world.timeline import Timeline

T = TypeVar("T")


@cache
def _read(cls: type[Any], settings: tuple[tuple[str, str], ...]) -> Any:
    return read(cls, dict(settings), {})


class Settings:
    """The settings of a process, as L{eventsvc.tap.options.RoleOptions} gives them."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = tuple(sorted(settings.items()))

    def read(self, cls: type[T]) -> T:
        """Return the settings of a class."""
        return _read(cls, self.settings)  # type: ignore[no-any-return]


class World:
    """
    A world: one order of events, a network, and processes.

    @ivar dark: hosts without power.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"{seed} world")
        self.timeline = Timeline()
        self.network = Network(self.timeline, seed)
        self.processes: dict[str, Process] = {}
        self.past: list[Process] = []  # kept, so that no finalizer runs
        self.dark: set[str] = set()
        self._walls: dict[str, WallClock] = {}

    def wall(self, host: str) -> WallClock:
        """Return the time of day of a host."""
        return self._walls.setdefault(host, WallClock(self.timeline))

    def add_process(self, name: str) -> Process:
        """Begin the next life of a process."""
        before = self.processes.get(name)
        life = 0 if before is None else before.life + 1
        if before is not None:
            self.past.append(before)
        process = Process(self, name, life, Random(f"{self.seed} {name} {life}"), self.wall(name))
        self.processes[name] = process
        return process

    def logged(self, event: Mapping[str, Any]) -> None:
        """Keep what a process logs, if it matters."""
        process = self.timeline.current
        if process is not None and (event["log_level"] >= LogLevel.warn or "details" in event):
            process.log.append((self.timeline.now, event))

    def ended(self, process: Process) -> None:
        """A process has ended by itself or by a signal."""


def producer(settings: Mapping[str, str]) -> Callable[[SimulatedReactor], Any]:
    """Return what makes the service of a producer."""
    options: Any = Settings(settings)
    return lambda reactor: make_producer(options, reactor)
