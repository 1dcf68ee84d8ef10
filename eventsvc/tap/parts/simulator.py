"""Posts events to a producer at random times and counts what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any
from urllib.parse import quote

from twisted.application.service import IService, MultiService

from eventsvc.client import make_client
from eventsvc.event import Event
from eventsvc.net.pem import read_trust_root
from eventsvc.outcome import Outcome
from eventsvc.settings import AdminSettings, LogSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.simulator.service import MOST_IN_FLIGHT, Simulator
from eventsvc.simulator.traffic import Events
from eventsvc.tap.figures import simulator_figures
from eventsvc.tap.health import Vitals, add_admin, simulator_health
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.process import Process
from eventsvc.telemetry.logs import make_log


def add_simulator(
    process: MultiService, reactor: Any, settings: SimulatorSettings, done: Callable[[], None]
) -> Simulator:
    """
    Put the parts of a simulator into a process.

    @raise InvalidSettings: the file of CA certificates is not valid.
    """
    scheme = "https" if settings.tls else "http"
    trust_root = read_trust_root("EVENT_PRODUCER_TLS_CA", settings.tls_ca) if settings.tls else None
    url = f"{scheme}://{settings.host}:{settings.port}"
    if settings.stream:
        url += f"/streams/{quote(settings.stream, safe='')}"
    client = make_client(reactor, url, MOST_IN_FLIGHT, trust_root=trust_root, token=settings.token)

    async def post(event: Event) -> Outcome:
        return (await client.post(event)).outcome

    chance = SystemRandom()
    seed = chance.getrandbits(32) if settings.seed is None else settings.seed
    simulator = Simulator(
        post=post,
        clock=reactor,
        random=Random(seed),
        rate=settings.rate,
        events=Events(settings.form or "PLAIN", f"{chance.getrandbits(64):016x}"),
        duration=settings.duration,
        count=settings.count,
        done=done,
    )
    simulator.setServiceParent(process)
    return simulator


def make_process(options: RoleOptions) -> IService:
    """Build the process of a simulator."""
    from twisted.internet import reactor

    process = Process(reactor, make_log(options.read(LogSettings)))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    simulator = add_simulator(process, reactor, options.read(SimulatorSettings), process.finish)
    vitals.metrics.add(simulator_figures(simulator))
    add_admin(process, reactor, options.read(AdminSettings), simulator_health(vitals))
    return process
