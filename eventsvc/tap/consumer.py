"""Reads the stream through its group and gives each event to a handler."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python.reflect import namedAny

from eventsvc.chore import Chore
from eventsvc.consumer import Consumer
from eventsvc.in_hand import InHand, nothing_to_flush
from eventsvc.lag import Lag
from eventsvc.logs import JsonLog, LogHandler, json_log
from eventsvc.redis.group import RedisEventGroup
from eventsvc.retention import Retention
from eventsvc.settings import ROLES, AdminSettings, ConsumerSettings, LogSettings, RedisSettings, StreamSettings
from eventsvc.tap.figures import connection_figures, consumer_figures
from eventsvc.tap.health import Vitals, add_admin, consumer_health
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.parts import make_connection
from eventsvc.tap.process import Process
from eventsvc.web.health import Health


def load_handler(name: str, log: JsonLog) -> Callable[[Any], Any]:
    """
    The handler of a name: C{log}, or a dotted name.

    @raise ValueError: there is no such callable; the text says why.
    """
    if name == "log":
        return LogHandler(log, time.time_ns)
    try:
        handler: Callable[[Any], Any] = namedAny(name)
    except Exception as error:
        raise ValueError(f"{name!r} cannot be imported: {error}") from None
    if not callable(handler):
        raise ValueError(f"{name!r} is not callable")
    return handler


class Options(RoleOptions):
    """C{twistd eventsvc consumer}, or C{twistd consumer}."""

    settings = ROLES["consumer"]

    def postOptions(self) -> None:
        super().postOptions()
        try:
            load_handler(self.read(ConsumerSettings).handler, json_log("INFO"))
        except ValueError as problem:
            self.fail(f"--handler: {problem}: expected log, or the dotted name of a callable")


def add_consumer(
    process: MultiService,
    reactor: Any,
    redis: RedisSettings,
    limits: StreamSettings,
    settings: ConsumerSettings,
    log: JsonLog,
    vitals: Vitals,
) -> Health:
    """Put the parts of a consumer into a process, and give its health."""
    connection = make_connection(reactor, redis)
    handler = load_handler(settings.handler, log)
    group = RedisEventGroup(connection, redis.stream, settings.group, settings.name)
    retention = Retention(group, reactor, settings.max_len, limits.hard_max)
    lag = Lag(group, reactor, lifetime=30.0 + settings.claim_idle)
    consumer = Consumer(
        group=group,
        in_hand=InHand(
            group=group,
            handler=handler,
            flush=getattr(handler, "flush", nothing_to_flush),
            clock=reactor,
            jitter=random.random,
            concurrency=settings.concurrency,
            max_deliveries=settings.max_deliveries,
        ),
        clock=reactor,
        block=settings.read_timeout,
        claim_idle=settings.claim_idle,
        drain_timeout=settings.drain_timeout,
        chores=[Chore(0.25, retention.trim, handled=max(1, retention.headroom // 4)), Chore(2.0, lag.measure)],
    )
    for part in (connection, consumer):
        part.setServiceParent(process)
    vitals.metrics.add(consumer_figures(consumer, retention, lag) + connection_figures(connection, "consumer"))
    return consumer_health(vitals, consumer, connection)


def makeService(options: RoleOptions) -> IService:
    """Build the process of a consumer."""
    from twisted.internet import reactor

    log = json_log(options.read(LogSettings).level)
    process = Process(reactor, log)
    vitals = Vitals(reactor)
    vitals.setServiceParent(process)
    health = add_consumer(
        process,
        reactor,
        options.read(RedisSettings),
        options.read(StreamSettings),
        options.read(ConsumerSettings),
        log,
        vitals,
    )
    add_admin(process, reactor, options.read(AdminSettings), health)
    return process
