"""Accepts events over HTTP and stores them in the stream."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService

from eventsvc.producer.appender import Appender
from eventsvc.producer.backlog import Limits
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.settings import LogSettings, ProducerSettings, RedisSettings, StreamSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.tap.accepting import connections_within, raise_descriptor_limit
from eventsvc.tap.figures import connection_figures, producer_figures
from eventsvc.tap.health import Vitals, producer_health
from eventsvc.tap.options import RoleOptions, name_settings
from eventsvc.tap.parts.connection import AppenderService, make_connection, new_producer_id
from eventsvc.tap.process import Listener, Process
from eventsvc.tap.tracing import Tracing, start_tracing
from eventsvc.telemetry.logs import json_log
from eventsvc.web.api import Api
from eventsvc.web.destinations import make_destinations
from eventsvc.web.post_head import PostReader
from eventsvc.web.site import make_site


def add_producer(
    process: MultiService,
    reactor: Any,
    redis: RedisSettings,
    limits: StreamSettings,
    settings: ProducerSettings,
    vitals: Vitals,
    lasting: bool = True,
    fast_path: bool = True,
    tracing: Tracing | None = None,
) -> Listener:
    """
    Put the parts of a producer into a process.

    @param lasting: whether confirmed events must survive a restart of Redis.
    @param tracing: makes spans; C{None} for none.
    """
    streams = list(dict.fromkeys([redis.stream, *settings.streams]))
    connection = make_connection(reactor, redis, prepare=stream_opener(*streams), lasting=lasting)
    appenders = {
        stream: Appender(
            event_log=RedisEventLog(
                connection, stream, limits.hard_max, settings.idempotency_window, settings.idempotency_max_keys
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
        )
        for stream in streams
    }
    if tracing is not None:
        appenders = {stream: tracing.trace_appender(each, redis, stream) for stream, each in appenders.items()}
        vitals.metrics.add(tracing.figures())
    vitals.metrics.add(producer_figures(appenders) + connection_figures(connection, "producer"))
    health = producer_health(vitals, list(appenders.values()), connection)
    posts = PostReader(make_destinations(appenders))
    site = make_site(
        Api(posts, health),
        settings.request_timeout,
        reactor,
        max_connections=connections_within(raise_descriptor_limit()),
        per_address=settings.connections_per_address,
        fast_path=fast_path,
    )
    names = name_settings(ProducerSettings, "port", "host")
    listener = Listener(reactor, settings.port, site, settings.host, names)
    for part in (connection, *map(AppenderService, appenders.values()), listener):
        part.setServiceParent(process)
    return listener


def make_process(options: RoleOptions) -> IService:
    """Build the process of a producer."""
    from twisted.internet import reactor

    return make_producer(options, reactor)


def make_producer(options: RoleOptions, reactor: Any, fast_path: bool = True) -> IService:
    """Build the process of a producer; benchmarks do without the fast path, to show its worth."""
    process = Process(reactor, json_log(options.read(LogSettings).level))
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    redis, limits = options.read(RedisSettings), options.read(StreamSettings)
    tracing = start_tracing(reactor, options.read(TracingSettings), "producer", process)
    producer = options.read(ProducerSettings)
    add_producer(process, reactor, redis, limits, producer, vitals, fast_path=fast_path, tracing=tracing)
    return process
