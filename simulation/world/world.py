"""
A simulated world: services, clients and servers on one timeline and one network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from eventsvc.settings.reading import read
from eventsvc.tap.parts.consumer import make_consumer
from eventsvc.tap.parts.producer import make_producer
from eventsvc.testing.history import Handling
from simulation.schedules.choices import Setup
from simulation.schedules.story import Line
from simulation.world.account import Account
from simulation.world.clients import PORT, Client
from simulation.world.handlers import HANDLERS, POISON, Behaviour
from simulation.world.network import Network
from simulation.world.process import Process, WallClock
from simulation.world.reactor import SimulatedReactor
from simulation.world.servers import Servers
from simulation.world.timeline import Timeline
from simulation.world.wire import Wire

T = TypeVar("T")

_MAKERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {"producer": make_producer, "consumer": make_consumer}


@cache
def _read(cls: type[Any], settings: tuple[tuple[str, str], ...]) -> Any:
    return read(cls, dict(settings), {})


class Settings:
    """The settings of a process, as L{eventsvc.tap.options.RoleOptions} gives them."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = tuple(sorted(settings.items()))

    def read(self, cls: type[T]) -> T:
        """Return the settings of a class."""
        return _read(cls, self.settings)  # type: ignore[no-any-return, arg-type]


class World:
    """
    A world: one order of events, a network, and processes.

    @ivar processes: the present life of each process, by name.
    @ivar lives: all lives of services.
    @ivar dark: hosts without power.
    @ivar gone: services that are not started again.
    @ivar entries: for each of C{handlings} the life of the consumer, and the entry.
    @ivar descriptions: of handled events, by id.
    @ivar account: what may be lost or repeated because of what was done.
    @ivar later: ends a fault after so many seconds.
    @ivar triggers: called with each step: the process, and the name of the step.
    """

    def __init__(self, seed: int, setup: Setup) -> None:
        self.seed, self.setup = seed, setup
        self.random = Random(f"{seed} world")
        self.timeline = Timeline()
        self.network = Network(self.timeline, seed)
        self.processes: dict[str, Process] = {}
        self.lives: list[Process] = []
        self.dark: set[str] = set()
        self.gone: set[str] = set()
        self.handlings: list[Handling] = []
        self.entries: list[str] = []
        self.descriptions: dict[int, str] = {}
        self.journal: list[Line] = []
        self.account = Account(self)
        self.triggers: list[Callable[[Process, str], None]] = []
        self.later: Callable[[float, Callable[[], object], str], None]
        self.clients: dict[str, Client] = {}
        self.unexpected: list[str] = []
        self._walls: dict[str, WallClock] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._hanging: list[tuple[Process, Deferred[None]]] = []
        self._wanted_ends: set[Process] = set()
        self.clock = SimulatedReactor(Process(self, "world", 0, self.random, self.wall("world")))
        self.servers = Servers(self, setup)
        self.wire = Wire(self.timeline, self.servers.is_server, self._on_wire)
        self.network.watchers.append(self.wire.watch)

    # Processes

    def wall(self, host: str) -> WallClock:
        """Return the time of day of a host."""
        return self._walls.setdefault(host, WallClock(self.timeline))

    def add_process(self, name: str) -> Process:
        """Begin the next life of a process."""
        before = self.processes.get(name)
        life = 0 if before is None else before.life + 1
        process = Process(self, name, life, Random(f"{self.seed} {name} {life}"), self.wall(name))
        self.processes[name] = process
        self.lives.append(process)  # kept, so that no finalizer runs
        return process

    def start(self) -> None:
        """Start everything."""
        setup = self.setup
        producers = [f"producer-{number}" for number in range(1, setup.producers + 1)]
        for name in (*producers, *(f"consumer-{number}" for number in range(1, setup.consumers + 1))):
            self.start_service(name)
        for number in range(1, setup.clients + 1):
            process = self.add_process(f"client-{number}")
            client = Client(
                process,
                producers[number % len(producers) :] + producers[: number % len(producers)],
                Random(f"{self.seed} client {number}"),
                rate=setup.rate / setup.clients,
                keyed=setup.keyed,
                batched=setup.batched,
                mixed=setup.mixed,
                poison=setup.poison if int(setup.settings.get("CONSUMER_MAX_DELIVERIES", "5")) <= 5 else 0.0,
                ends=setup.seconds,
                haste=setup.haste,
            )
            self.clients[process.name] = client
            self.timeline.add(0.5, process, client.start)

    def start_service(self, name: str) -> None:
        """Start a producer or a consumer, unless it runs."""
        before = self.processes.get(name)
        if name in self.gone or (before is not None and before.alive):
            return
        process = self.add_process(name)
        role = name.partition("-")[0]
        options, make = Settings(self.settings(name)), _MAKERS[role]
        self.tell(process, "starts")
        process.start(lambda reactor: make(options, reactor))

    def close(self) -> None:
        """
        Let no process of this world do anything any more.

        # Note [Finalizers]

        A coroutine that is collected runs to its end.  That of a service that stops would end this interpreter::

            Process._stop_children:  awaits a child for ever | collected: GeneratorExit, caught; the next child ...;
                                                             | no child is left: a thread calls os._exit in a second
        """
        for process in self.lives:
            if process.service is not None:
                process.service._finishing = False

    def settings(self, name: str) -> Mapping[str, str]:
        """Return the settings of a service."""
        setup = self.setup
        common = {"REDIS_DURABILITY": setup.durability, **self.servers.settings(), **setup.settings}
        if name.startswith("producer"):
            return {**common, "REST_SERVER_PORT": f"{PORT}", "REST_SERVER_CONNECTIONS_PER_ADDRESS": "0"}
        return {
            **common,
            "REDIS_CONSUMER": name,
            "CONSUMER_HANDLER": HANDLERS[setup.handler],
            "CONSUMER_CONCURRENCY": f"{setup.concurrency}",
        }

    def ended(self, process: Process) -> None:
        """A process has ended by itself or by a signal."""
        self.tell(process, f"ends with {process.exit_code}")
        if process.exit_code or process not in self._wanted_ends:
            self.unexpected.append(f"{process.name} ended with {process.exit_code}")

    def expect_end(self, process: Process) -> None:
        """Let a process end without a finding."""
        self._wanted_ends.add(process)

    def suspend(self, process: Process) -> None:
        """Stop a process, as SIGSTOP does."""
        process.suspended = True

    # What happens

    def behaviour(self, name: str) -> Behaviour:
        """Return what the handler of a consumer does."""
        return self._behaviours.setdefault(name, Behaviour())

    def hangs(self, process: Process, hanging: Deferred[None]) -> None:
        """Keep the call of a handler that hangs."""
        self._hanging.append((process, hanging))

    def release(self, name: str) -> None:
        """Let the handler of a consumer go on."""
        mine = [each for each in self._hanging if each[0].name == name]
        self._hanging = [each for each in self._hanging if each[0].name != name]
        for process, hanging in mine:
            if not hanging.called:
                self.timeline.add(self.timeline.now, process, _go_on, hanging)

    def handled(self, handling: Handling, entry: str, description: str) -> None:
        """Record that a handler has ended."""
        self.handlings.append(handling)
        self.entries.append(f"{handling.consumer} {self.processes[handling.consumer].life} {entry}")
        self.descriptions[handling.id] = description
        self.tell(handling.consumer, f"{'fails on' if handling.failed else 'handles'} {handling.id}")

    def happens(self, process: Process, step: str) -> None:
        """Something happens at which a fault may begin."""
        for trigger in list(self.triggers):
            trigger(process, step)

    def _on_wire(self, asking: Process, asked: Process, step: str, command: str) -> None:
        if step == "applied":
            self.servers.applied(asked.name, command)
            if self.triggers:
                self.happens(asked, f"applied:{command}")
        else:
            if self.triggers:
                self.happens(asking, f"{step}:{command}")
            if step == "reply" and command not in _DULL:
                self.tell(asked, f"answers {command} of {asking.name}")

    def tell(self, who: Process | str, words: str) -> None:
        """Write a line of the journal."""
        self.journal.append(Line(self.timeline.now, who if isinstance(who, str) else who.name, words))

    def logged(self, event: Mapping[str, Any]) -> None:
        """Keep what a process logs."""
        process = self.timeline.current
        if process is None or event["log_level"] < LogLevel.info:
            return
        process.log.append((self.timeline.now, event))
        if event.get("log_format") == "connected to Redis":
            self.happens(process, "connected")


_DULL: Final = frozenset({"ROLE", "INFO", "PING", "COMMAND", "measure", "XREADGROUP", "trim", "hold_name", "renew"})


def _go_on(hanging: Deferred[None]) -> None:
    if not hanging.called:
        hanging.callback(None)


__all__ = ["POISON", "Settings", "World"]
