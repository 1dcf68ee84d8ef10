"""Posts events to a producer at random times and counts what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Any
from urllib.parse import quote

from twisted.application.service import IService

from eventsvc.client import make_client
from eventsvc.event import Event
from eventsvc.net.pem import read_trust_root
from eventsvc.outcome import PostedBatch
from eventsvc.settings import AdminSettings, GroupSettings, LogSettings, RedisSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.simulator.service import MOST_IN_FLIGHT, Simulator
from eventsvc.simulator.traffic import Events
from eventsvc.tap.figures import simulator_figures
from eventsvc.tap.health import Vitals, add_admin, simulator_health
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.process import Process
from eventsvc.telemetry.logs import make_log

#: What needs a library that is an extra.
_NO_LIBRARY = "--save, --threshold and --follow need the library hdrhistogram: install eventsvc with its extra [load]"


def add_simulator(
    process: Process,
    reactor: Any,
    settings: SimulatorSettings,
    done: Callable[[], None],
    redis: RedisSettings,
    group: str,
    say: Callable[[str], object] | None = None,
) -> Simulator:
    """
    Put the parts of a simulator into a process.

    @param redis: where to follow the events of C{group}, if the settings say so.
    @param say: writes the summary for a person; by default to the terminal, if there is one.
    @raise InvalidSettings: the file of CA certificates is not valid, or the run cannot be measured or saved.
    """
    scheme = "https" if settings.tls else "http"
    trust_root = read_trust_root("EVENT_PRODUCER_TLS_CA", settings.tls_ca) if settings.tls else None
    url = f"{scheme}://{settings.host}:{settings.port}"
    if settings.stream:
        url += f"/streams/{quote(settings.stream, safe='')}"
    client = make_client(reactor, url, MOST_IN_FLIGHT, trust_root=trust_root, token=settings.token)

    async def post(events: Sequence[Event]) -> PostedBatch:
        if settings.batch > 1:
            return await client.post_batch(events)
        posted = await client.post(events[0])
        return PostedBatch(posted.outcome, () if posted.id is None else (posted.id,), posted.why)

    chance = SystemRandom()
    seed = chance.getrandbits(32) if settings.seed is None else settings.seed
    simulator = Simulator(
        post=post,
        clock=reactor,
        random=Random(seed),
        rate=settings.rate,
        events=Events(settings.form or "PLAIN", f"{chance.getrandbits(64):016x}", settings.sizes or (0, 0)),
        pattern=settings.pattern,
        batch=settings.batch,
        duration=settings.duration,
        count=settings.count,
        done=done,
    )
    _measure(process, reactor, simulator, settings, (url, seed), (redis, settings.stream or redis.stream, group), say)
    simulator.setServiceParent(process)
    return simulator


def _measure(
    process: Process,
    reactor: Any,
    simulator: Simulator,
    settings: SimulatorSettings,
    run: tuple[str, int],
    follow: tuple[RedisSettings, str, str],
    say: Callable[[str], object] | None,
) -> None:
    """Measure the run, with its URL and its seed, if the library for that is there."""
    try:
        from eventsvc.tap.parts.load import Measuring, add_measuring, show_on_terminal
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("hdrh"):
            raise
        if settings.save or settings.thresholds or settings.follow:
            raise InvalidSettings(_NO_LIBRARY) from None
        return
    measuring = Measuring(
        simulator=simulator,
        settings=settings,
        target=run[0],
        seed=run[1],
        wall_clock=time.time_ns,
        fail=process.fail,
        end_with=process.end_with,
        show=say or show_on_terminal(),
    )
    add_measuring(process, reactor, measuring, follow if settings.follow else None)


def make_process(options: RoleOptions) -> IService:
    """Build the process of a simulator."""
    from twisted.internet import reactor

    process = Process(reactor, make_log(options.read(LogSettings)))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    redis, group = options.read(RedisSettings), options.read(GroupSettings).group
    simulator = add_simulator(process, reactor, options.read(SimulatorSettings), process.finish, redis, group)
    vitals.metrics.add(simulator_figures(simulator))
    add_admin(process, reactor, options.read(AdminSettings), simulator_health(vitals))
    return process
