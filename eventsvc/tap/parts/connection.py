"""
Builds the parts that several roles share.
"""

from __future__ import annotations

import random
import secrets
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from eventsvc.producer.appender import Appender
from eventsvc.redis.connection import Connection
from eventsvc.redis.endpoint import make_endpoint
from eventsvc.settings import RedisSettings


def make_connection(reactor: Any, settings: RedisSettings, **more: Any) -> Connection:
    """
    Return a connection to Redis with the given settings.

    @raise InvalidSettings: the file of CA certificates is invalid.
    """
    return Connection(
        endpoint=make_endpoint(reactor, settings.host, settings.port, settings.tls, settings.tls_ca),
        clock=reactor,
        jitter=random.random,
        username=settings.username,
        password=settings.password,
        database=settings.database,
        retry_period=settings.retry_period,
        **more,
    )


def new_producer_id() -> bytes:
    """Return a random producer id that no other producer has."""
    return secrets.token_hex(8).encode()


@attrs.define(eq=False, slots=False)
class AppenderService(Service):
    """Starts and stops an appender with its process."""

    appender: Appender

    def startService(self) -> None:
        super().startService()
        self.appender.start()

    def stopService(self) -> Deferred[None]:
        """Answer the waiting requests, then stop."""
        super().stopService()
        return self.appender.drain().addCallback(lambda _: self.appender.stop())
