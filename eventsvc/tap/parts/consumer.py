"""Reads the stream through its group and gives each event to a handler."""

from __future__ import annotations

import os
import random
import secrets
import time
from functools import partial
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.threads import deferToThreadPool

from eventsvc.consumer.ages import Ages
from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.chore import Chore
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.handler_shape import WrongHandler, bind, count_threads
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.name_hold import EVERY, NameHold
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.handlers.log import LogHandler
from eventsvc.redis.group import RedisEventGroup
from eventsvc.redis.processes import Processes
from eventsvc.settings import AdminSettings, ConsumerSettings, LogSettings, RedisSettings, StreamSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.consumer_name import take_name
from eventsvc.tap.figures import connection_figures, consumer_figures, memory_figures, webhook_figures
from eventsvc.tap.handler_loading import as_invalid_setting, make_handler
from eventsvc.tap.health import Vitals, add_admin, consumer_health
from eventsvc.tap.heartbeats import Identity, add_heartbeats, consumer_says
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.parts.connection import make_connection
from eventsvc.tap.process import Process
from eventsvc.tap.tracing import Tracing, start_tracing
from eventsvc.telemetry.lag import EVERY as MEASURE_EVERY
from eventsvc.telemetry.lag import Lag
from eventsvc.telemetry.logs import ServiceLog, make_log
from eventsvc.web.health import Health

#: Threads for other work of the reactor, such as looking up names.
_OTHER_THREADS: Final = 10
#: Calls that may hang in threads of their own, so that others still have one.
_HUNG_THREADS: Final = 50


def bind_handler(
    reactor: Any, settings: ConsumerSettings, webhook: WebhookSettings, log: ServiceLog, vitals: Vitals
) -> tuple[BoundHandler, int]:
    """
    Make the handler, and return it with the number of events or batches that it handles at the same time.

    @raise InvalidSettings: it cannot be made as the settings say.
    """
    handler: Any
    if settings.handler == "log":
        handler = LogHandler(log.output.write, time.time_ns, reactor.callFromThread, log.text)
    elif settings.handler == "webhook":
        from eventsvc.handlers.webhook import make_webhook  # with an HTTP client, which no other handler needs

        handler = make_webhook(reactor, webhook, time.time_ns)
        vitals.metrics.add(webhook_figures(handler))
    else:
        handler = make_handler(settings.handler, os.environ)
    try:
        threads = count_threads(handler, settings.handler, settings.threads)
        bound = bind(
            handler,
            reactor,
            timeout=settings.handler_timeout or 0.0,
            most_threads=threads + _HUNG_THREADS,
            defer_to_thread=partial(deferToThreadPool, reactor, reactor.getThreadPool()) if threads else None,
        )
    except WrongHandler as wrong:
        raise as_invalid_setting(wrong) from None
    if threads:
        reactor.suggestThreadPoolSize(_OTHER_THREADS + threads + _HUNG_THREADS)
    return bound, threads or settings.concurrency


def add_consumer(
    process: Process,
    reactor: Any,
    redis: RedisSettings,
    limits: StreamSettings,
    settings: ConsumerSettings,
    webhook: WebhookSettings,
    log: ServiceLog,
    vitals: Vitals,
    lasting: bool = True,
    tracing: Tracing | None = None,
) -> Health:
    """
    Put the parts of a consumer into a process, and give its health.

    @param lasting: whether confirmed events must survive a restart of Redis.
    @param tracing: makes spans; C{None} for none.
    """
    connection = make_connection(reactor, redis, lasting=lasting)
    handler, concurrency = bind_handler(reactor, settings, webhook, log, vitals)
    name = settings.name or take_name(redis.stream, limits.group)
    if tracing is not None:
        handler = tracing.trace_handler(handler, redis.stream, limits.group, name)
    group = RedisEventGroup(connection, redis.stream, limits.group, name)
    hold = NameHold(group, reactor, secrets.token_hex(8), lifetime=3 * (EVERY + settings.read_timeout))
    retention = Retention(group, reactor, settings.max_len, limits.hard_max, limits.max_memory)
    lag = Lag(redis.stream, limits.group, group.measure, reactor, lifetime=30.0 + settings.claim_idle)
    counts = ConsumerCounts()
    consumer = Consumer(
        group=group,
        in_flight=InFlight(
            group=group,
            handler=handler,
            exit=process.fail,
            clock=reactor,
            jitter=random.random,
            concurrency=concurrency,
            max_deliveries=settings.max_deliveries,
            retry_for=settings.retry_for,
            counts=counts,
            on_handled=Ages(counts.ages, time.time).observe,
        ),
        clock=reactor,
        block=settings.read_timeout,
        claim_idle=settings.claim_idle,
        drain_timeout=settings.drain_timeout,
        leave=hold.leave,
        chores=[
            retention.chore,
            Chore(MEASURE_EVERY, lag.measure),
            Chore(EVERY, hold.check),
        ],
    )
    connection.setServiceParent(process)
    vitals.metrics.add(
        consumer_figures(consumer, retention, lag, hold)
        + memory_figures(connection, lambda: retention.memory, "consumer")
        + connection_figures(connection, "consumer")
    )
    health = consumer_health(vitals, consumer, connection)
    identity = Identity("consumer", name, limits.group)
    processes = Processes(connection, redis.stream)
    # Ends after the consumer, whose last read may block the connection for longer than the heartbeat waits.
    add_heartbeats(process, vitals, processes, identity, health, partial(consumer_says, consumer))
    consumer.setServiceParent(process)
    return health


def make_process(options: RoleOptions) -> IService:
    """Build the process of a consumer."""
    from twisted.internet import reactor

    return make_consumer(options, reactor)


def make_consumer(options: RoleOptions, reactor: Any) -> IService:
    """Build the process of a consumer for a reactor."""
    log = make_log(options.read(LogSettings))
    process = Process(reactor, log)
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    tracing = start_tracing(reactor, options.read(TracingSettings), "consumer", process, vitals.metrics)
    health = add_consumer(
        process,
        reactor,
        options.read(RedisSettings),
        options.read(StreamSettings),
        options.read(ConsumerSettings),
        options.read(WebhookSettings),
        log,
        vitals,
        tracing=tracing,
    )
    add_admin(process, reactor, options.read(AdminSettings), health)
    return process
