"""Reads the stream through its group and gives each event to a handler."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python.reflect import namedAny

from eventsvc.consumer import Chore, Consumer
from eventsvc.in_hand import InHand
from eventsvc.logs import JsonLog, LogHandler, json_log
from eventsvc.redis.group import RedisEventGroup
from eventsvc.retention import Retention
from eventsvc.settings import ROLES, ConsumerSettings, LogSettings, RedisSettings
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.parts import make_connection
from eventsvc.tap.process import Process


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

    synopsis = "Usage: twistd [options] consumer [options]"
    settings = ROLES["consumer"]

    def postOptions(self) -> None:
        super().postOptions()
        try:
            load_handler(self.read(ConsumerSettings).handler, json_log("INFO"))
        except ValueError as problem:
            self.fail(f"--handler: {problem}: expected log, or the dotted name of a callable")


def add_consumer(
    process: MultiService, reactor: Any, redis: RedisSettings, settings: ConsumerSettings, log: JsonLog
) -> Consumer:
    """Put the parts of a consumer into a process."""
    connection = make_connection(reactor, redis)
    group = RedisEventGroup(connection, redis.stream, settings.group, settings.name)
    retention = Retention(group, reactor, settings.max_len)
    consumer = Consumer(
        group=group,
        in_hand=InHand(
            group=group,
            handler=load_handler(settings.handler, log),
            clock=reactor,
            jitter=random.random,
            concurrency=settings.concurrency,
            max_deliveries=settings.max_deliveries,
        ),
        clock=reactor,
        block=settings.read_timeout,
        claim_idle=settings.claim_idle,
        drain_timeout=settings.drain_timeout,
        chores=[Chore(1.0, retention.trim)],
    )
    for part in (connection, consumer):
        part.setServiceParent(process)
    return consumer


def makeService(options: RoleOptions) -> IService:
    """Build the process of a consumer."""
    from twisted.internet import reactor

    log = json_log(options.read(LogSettings).level)
    process = Process(reactor, log)
    add_consumer(process, reactor, options.read(RedisSettings), options.read(ConsumerSettings), log)
    return process
