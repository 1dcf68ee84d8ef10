"""Accepts events over HTTP and stores them in the stream."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from twisted.application.service import IService, MultiService

from eventsvc.net.server_certificates import ServerCertificates
from eventsvc.net.tls_transport import TLSFactory
from eventsvc.producer.appender import Appender
from eventsvc.producer.backlog import Limits
from eventsvc.producer.retained import Retained
from eventsvc.producer.room import Room
from eventsvc.redis.connection import Session
from eventsvc.redis.durability import make_durability
from eventsvc.redis.history import RedisHistory
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.redis.measuring import measure
from eventsvc.redis.processes import Processes
from eventsvc.settings import AdminSettings, LogSettings, ProducerSettings, RedisSettings, StreamSettings
from eventsvc.settings.dashboard import StreamListSettings
from eventsvc.settings.durability import DurabilitySettings
from eventsvc.settings.tls import TLSSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.tap.accepting import connections_within, raise_descriptor_limit
from eventsvc.tap.figures import connection_figures, lag_figures, memory_figures
from eventsvc.tap.health import Vitals, add_admin, producer_health
from eventsvc.tap.heartbeats import Identity, add_heartbeats, producer_says
from eventsvc.tap.options import RoleOptions, name_settings
from eventsvc.tap.parts.connection import AppenderService, make_connection, new_producer_id
from eventsvc.tap.process import Listener, Process
from eventsvc.tap.producer_figures import durability_figures, producer_figures, room_figures, tls_figures
from eventsvc.tap.token_file import add_tokens
from eventsvc.tap.tracing import Tracing, start_tracing
from eventsvc.telemetry.lag import Lag, Watch
from eventsvc.telemetry.logs import make_log
from eventsvc.web.api import Api
from eventsvc.web.destinations import make_destinations
from eventsvc.web.limits import PROBES
from eventsvc.web.post_head import PostReader
from eventsvc.web.site import BoundedSite, make_site

#: A producer whose port is plain, and serves health and metrics too.
NO_TLS: Final = TLSSettings()
NO_ADMIN: Final = AdminSettings()
#: Seconds after which a producer no longer tells how far a group was behind.
LIFETIME: Final = 6.0
#: The memory of the primary is enough.
IN_MEMORY: Final = DurabilitySettings()


def add_producer(
    process: MultiService,
    reactor: Any,
    redis: RedisSettings,
    limits: StreamSettings,
    settings: ProducerSettings,
    vitals: Vitals,
    more_streams: Sequence[str] = (),
    tls: TLSSettings = NO_TLS,
    admin: AdminSettings = NO_ADMIN,
    durable: DurabilitySettings = IN_MEMORY,
    lasting: bool = True,
    fast_path: bool = True,
    tracing: Tracing | None = None,
    with_lag: bool = True,
) -> Listener:
    """
    Put the parts of a producer into a process.

    @param more_streams: streams beside that of C{redis}.
    @param admin: the port of health and metrics; without, they are on the producer's own.
    @param durable: what a 200 promises.
    @param lasting: whether confirmed events must survive a restart of Redis.
    @param tracing: makes spans; C{None} for none.
    @param with_lag: whether to publish how far the group is behind; not if a consumer in this process does.
    @raise InvalidSettings: the TLS files are not valid.
    """
    streams = list(dict.fromkeys([redis.stream, *more_streams]))
    open_streams = stream_opener(*streams)

    async def prepare(session: Session) -> None:
        await open_streams(session)
        for appender in appenders.values():
            appender.check()  # what Redis has lost is stored again at once, even if nobody posts

    durability = make_durability(durable, reactor)
    demands: dict[str, Any] = {} if durability is None else {"find_problem": durability.find_problem}
    connection = make_connection(reactor, redis, prepare=prepare, lasting=lasting, **demands)
    retain_seconds = min(durable.retain_seconds or 0.0, settings.idempotency_window)  # no key is forgotten before
    appenders = {
        stream: Appender(
            event_log=RedisEventLog(
                connection,
                stream,
                limits.hard_max,
                settings.idempotency_window,
                settings.idempotency_max_keys,
                durability,
                on_full=lambda: room.refused(),
            ),
            clock=reactor,
            new_id=partial(random.getrandbits, 63),
            new_producer_id=new_producer_id,
            wall_clock=time.time_ns,
            limits=Limits(
                batch_events=settings.batch_events,
                batch_bytes=settings.batch_bytes,
                queue_events=settings.queue_events,
                queue_bytes=settings.queue_bytes,
                wait=settings.write_timeout,
            ),
            retained=Retained(reactor, retain_seconds, durable.retain_bytes // len(streams)),
        )
        for stream in streams
    }
    room = Room(
        RedisHistory(connection, streams),
        reactor,
        lambda: sum(appender.counts.batches for appender in appenders.values()),
        limits.max_memory,
    )
    vitals.on_beat.append(room.beat)
    if tracing is not None:
        appenders = {stream: tracing.trace_appender(each, stream, redis) for stream, each in appenders.items()}
    vitals.metrics.add(
        producer_figures(appenders)
        + room_figures(room)
        + memory_figures(connection, lambda: room.memory, "producer")
        + connection_figures(connection, "producer")
    )
    if durability is not None:
        vitals.metrics.add(durability_figures(durability))
    lags = [
        Lag(stream, limits.group, partial(measure, connection, stream, limits.group), reactor, LIFETIME)
        for stream in streams
    ]
    vitals.on_beat.append(Watch(lags, reactor, lambda: connection.ready).look)
    if with_lag:
        vitals.metrics.add(lag_figures(lags))
    health = producer_health(vitals, list(appenders.values()), connection, room, lags)
    access = add_tokens(settings.tokens, streams, vitals)
    posts = PostReader(make_destinations(appenders), access, settings.allowed_origins)
    site = make_site(
        Api(posts, health),
        settings.request_timeout,
        reactor,
        max_connections=connections_within(raise_descriptor_limit()),
        per_address=settings.connections_per_address,
        fast_path=fast_path,
        hidden=PROBES if admin.port else frozenset(),
    )
    site.grace = settings.grace
    names = name_settings(ProducerSettings, "port", "host")
    listener = Listener(reactor, settings.port, with_tls(site, reactor, tls, vitals), settings.host, names)
    for part in (connection, *map(AppenderService, appenders.values()), listener):
        part.setServiceParent(process)
    for stream, appender in appenders.items():
        identity = Identity("producer", socket.gethostname())
        processes = Processes(connection, stream)
        add_heartbeats(process, vitals, processes, identity, health, partial(producer_says, appender))
    add_admin(process, reactor, admin, health)
    return listener


def with_tls(site: BoundedSite, reactor: Any, settings: TLSSettings, vitals: Vitals) -> BoundedSite | TLSFactory:
    """
    Return the factory of a port: the site, behind TLS if the settings name a certificate.

    @raise InvalidSettings: a setting is missing, or a file is not valid.
    """
    settings.check()
    if not settings.files():
        return site
    certificates = ServerCertificates(settings)
    vitals.on_beat.append(certificates.check)
    vitals.metrics.add(tls_figures(certificates))
    return TLSFactory(certificates, False, site, reactor)


def make_process(options: RoleOptions) -> IService:
    """Build the process of a producer."""
    from twisted.internet import reactor

    return make_producer(options, reactor)


def make_producer(options: RoleOptions, reactor: Any, fast_path: bool = True) -> IService:
    """Build the process of a producer; benchmarks do without the fast path, to show its worth."""
    process = Process(reactor, make_log(options.read(LogSettings)))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    redis, limits = options.read(RedisSettings), options.read(StreamSettings)
    tracing = start_tracing(reactor, options.read(TracingSettings), "producer", process, vitals.metrics)
    add_producer(
        process,
        reactor,
        redis,
        limits,
        options.read(ProducerSettings),
        vitals,
        options.read(StreamListSettings).streams,
        options.read(TLSSettings),
        options.read(AdminSettings),
        options.read(DurabilitySettings),
        fast_path=fast_path,
        tracing=tracing,
    )
    return process
