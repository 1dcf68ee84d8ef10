"""Posts events to a producer at random times and counts the outcomes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

from twisted.application.service import IService, MultiService

from eventsvc.client import make_client
from eventsvc.event import Event
from eventsvc.outcome import Outcome
from eventsvc.settings import ROLES, AdminSettings, LogSettings, SimulatorSettings
from eventsvc.simulator.service import MOST_IN_FLIGHT, Simulator
from eventsvc.tap.figures import simulator_figures
from eventsvc.tap.health import Vitals, add_admin, simulator_health
from eventsvc.tap.options import RoleOptions, edge
from eventsvc.tap.process import Process
from eventsvc.telemetry.logs import json_log


class Options(RoleOptions):
    """C{twistd eventsvc simulator}, or C{twistd simulator}."""

    settings = ROLES["simulator"]


def add_simulator(
    process: MultiService, reactor: Any, settings: SimulatorSettings, done: Callable[[], None]
) -> Simulator:
    """Put the parts of a simulator into a process."""
    client = make_client(reactor, f"http://{settings.host}:{settings.port}", MOST_IN_FLIGHT)

    async def post(event: Event) -> Outcome:
        return (await client.post(event)).outcome

    seed = SystemRandom().getrandbits(32) if settings.seed is None else settings.seed
    simulator = Simulator(
        post=post,
        clock=reactor,
        random=Random(seed),
        rate=settings.rate,
        duration=settings.duration,
        count=settings.count,
        done=done,
    )
    simulator.setServiceParent(process)
    return simulator


@edge
def makeService(options: RoleOptions) -> IService:
    """Build the process of a simulator."""
    from twisted.internet import reactor

    process = Process(reactor, json_log(options.read(LogSettings).level))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    simulator = add_simulator(process, reactor, options.read(SimulatorSettings), process.finish)
    vitals.metrics.add(simulator_figures(simulator))
    add_admin(process, reactor, options.read(AdminSettings), simulator_health(vitals))
    return process
