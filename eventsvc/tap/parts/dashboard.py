"""Shows streams in a browser: figures, events, dead letters, processes."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.application.service import IService, MultiService, Service

from eventsvc.dashboard.source import Events, Letters
from eventsvc.dashboard.watch import Watch
from eventsvc.redis.connection import Connection
from eventsvc.redis.dead import DeadLetters
from eventsvc.redis.events import StreamEvents
from eventsvc.redis.hour import Hour
from eventsvc.redis.processes import Processes
from eventsvc.redis.survey import survey
from eventsvc.settings import LogSettings, RedisSettings
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.stream_state import StreamState
from eventsvc.tap.figures import connection_figures
from eventsvc.tap.health import Vitals, probe, why_not_connected
from eventsvc.tap.heartbeats import Identity, add_heartbeats
from eventsvc.tap.options import RoleOptions, name_settings
from eventsvc.tap.parts.connection import make_connection
from eventsvc.tap.process import Listener, Process
from eventsvc.telemetry.logs import make_log
from eventsvc.web.health import Health
from eventsvc.web.pages.guard import Guard
from eventsvc.web.pages.live import Followers
from eventsvc.web.pages.routes import Pages, make_dashboard_site


@attrs.frozen
class StreamSource:
    """A stream, as the pages see it."""

    watched: Watch
    events: Events
    letters: Letters
    survey: Callable[[], Awaitable[StreamState]]


@attrs.define(eq=False, slots=False)
class EndsFollowing(Service):
    """Ends the answers that would last, before the port waits for all answers."""

    followers: Followers

    def stopService(self) -> None:
        super().stopService()
        self.followers.stop()


def make_source(connection: Connection, stream: str, reactor: Any, vitals: Vitals) -> StreamSource:
    """Return a stream, which is watched from now on."""
    look = partial(survey, connection, stream)
    watch = Watch(
        stream=stream,
        survey=look,
        processes=Processes(connection, stream),
        ring=Hour(connection, stream),
        clock=reactor,
        why_not=partial(_why_not, connection),
    )
    vitals.on_beat.append(watch.look)
    return StreamSource(watch, StreamEvents(connection, stream), DeadLetters(connection, stream), look)


def _why_not(connection: Connection) -> str:
    return "" if connection.ready else why_not_connected(connection)


def add_dashboard(
    process: MultiService,
    reactor: Any,
    redis: RedisSettings,
    streams: Sequence[str],
    settings: DashboardSettings,
    vitals: Vitals,
) -> Listener:
    """
    Put the parts of a dashboard into a process.

    @param streams: more streams than that of C{redis}.
    """
    connection = make_connection(reactor, redis, lasting=False)  # producers and consumers warn about that
    sources = {
        stream: make_source(connection, stream, reactor, vitals) for stream in dict.fromkeys([redis.stream, *streams])
    }
    health = Health(
        is_live=lambda: vitals.is_alive,
        not_ready=partial(_why_not, connection),
        metrics=vitals.metrics.text,
    )
    vitals.on_beat.append(lambda: probe(connection))
    vitals.metrics.add(connection_figures(connection, "dashboard"))
    followers = Followers(reactor)
    pages = Pages(sources, Guard(settings.names, settings.token), health, reactor, followers)
    site = make_dashboard_site(pages, reactor)
    names = name_settings(DashboardSettings, "port", "host")
    listener = Listener(reactor, settings.port, site, settings.host, names)
    for part in (connection, listener, EndsFollowing(followers)):
        part.setServiceParent(process)
    for stream in sources:
        identity = Identity("dashboard", socket.gethostname())
        add_heartbeats(process, vitals, Processes(connection, stream), identity, health, lambda: ({}, {}))
    return listener


def make_process(options: RoleOptions) -> IService:
    """Build the process of a dashboard."""
    from twisted.internet import reactor

    process = Process(reactor, make_log(options.read(LogSettings)))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    streams = options.read(StreamListSettings).streams
    add_dashboard(process, reactor, options.read(RedisSettings), streams, options.read(DashboardSettings), vitals)
    return process
