"""Reads the stream through its group and gives each event to a handler."""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from typing import Any

from twisted.application.service import IService
from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny

from eventsvc.consumer.chore import Chore
from eventsvc.consumer.flush import Flush, nothing_to_flush
from eventsvc.consumer.handler_call import find_fault
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.lag import Lag
from eventsvc.consumer.name_hold import EVERY, NameHold
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.handlers.log import LogHandler
from eventsvc.interfaces import Handler
from eventsvc.redis.group import RedisEventGroup
from eventsvc.settings import (
    ROLES,
    AdminSettings,
    ConsumerSettings,
    LogSettings,
    RedisSettings,
    StreamSettings,
)
from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.consumer_name import take_name
from eventsvc.tap.figures import connection_figures, consumer_figures
from eventsvc.tap.health import Vitals, add_admin, consumer_health
from eventsvc.tap.options import RoleOptions, edge
from eventsvc.tap.parts import make_connection
from eventsvc.tap.process import Process
from eventsvc.telemetry.logs import JsonLog, json_log
from eventsvc.web.health import Health


def load_handler(name: str) -> Handler:
    """
    Import the handler of a dotted name.

    As C{python -m} does, it looks in the working directory first.

    @raise InvalidSettings: there is none that could handle an event; the text says why.
    """

    def wrong(fault: str) -> InvalidSettings:
        return InvalidSettings(f"--handler: {fault}: expected log, or the dotted name of a callable")

    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        handler: Handler = namedAny(name)
        flush = getattr(handler, "flush", nothing_to_flush)
    except (ModuleNotFound, ObjectNotFound):
        module = name.partition(".")[0]
        raise wrong(f"no module named {module!r}, neither in {directory} nor on Python's path") from None
    except (Exception, SystemExit) as error:
        raise wrong(f"{name!r} cannot be imported: {f'{error}' or type(error).__name__}") from None
    if fault := find_fault(handler, None):
        raise wrong(f"{name!r} {fault}")
    if fault := find_fault(flush):
        raise wrong(f"'{name}.flush' {fault}")
    return handler


def check_handler(name: str) -> None:
    """
    Check the setting C{CONSUMER_HANDLER}.

    @raise InvalidSettings: it can never handle an event.
    """
    if name != "log":
        load_handler(name)


class Options(RoleOptions):
    """C{twistd eventsvc consumer}, or C{twistd consumer}."""

    settings = ROLES["consumer"]

    def check(self) -> None:
        """Check that there is such a handler as well."""
        super().check()
        check_handler(self.read(ConsumerSettings).handler)


def add_consumer(
    process: Process,
    reactor: Any,
    redis: RedisSettings,
    limits: StreamSettings,
    settings: ConsumerSettings,
    log: JsonLog,
    vitals: Vitals,
    lasting: bool = True,
) -> Health:
    """
    Put the parts of a consumer into a process, and give its health.

    @param lasting: what Redis confirms has to survive it.
    """
    connection = make_connection(reactor, redis, lasting=lasting)
    handler: Handler
    if settings.handler == "log":
        handler = LogHandler(log.output.write, time.time_ns, reactor.callFromThread)
    else:
        handler = load_handler(settings.handler)
    name = settings.name or take_name(redis.stream, settings.group)
    group = RedisEventGroup(connection, redis.stream, settings.group, name)
    hold = NameHold(group, reactor, secrets.token_hex(8), lifetime=3 * (EVERY + settings.read_timeout))
    retention = Retention(group, reactor, settings.max_len, limits.hard_max)
    lag = Lag(group, reactor, lifetime=30.0 + settings.claim_idle)
    consumer = Consumer(
        group=group,
        in_flight=InFlight(
            group=group,
            handler=handler,
            flush=Flush(getattr(handler, "flush", nothing_to_flush)),
            exit=process.fail,
            clock=reactor,
            jitter=random.random,
            concurrency=settings.concurrency,
            max_deliveries=settings.max_deliveries,
        ),
        clock=reactor,
        block=settings.read_timeout,
        claim_idle=settings.claim_idle,
        drain_timeout=settings.drain_timeout,
        chores=[
            Chore(0.1, retention.trim, handled=max(1, retention.headroom // 4)),
            Chore(2.0, lag.measure),
            Chore(EVERY, hold.check),
        ],
    )
    for part in (connection, consumer):
        part.setServiceParent(process)
    vitals.metrics.add(consumer_figures(consumer, retention, lag, hold) + connection_figures(connection, "consumer"))
    return consumer_health(vitals, consumer, connection)


@edge
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
