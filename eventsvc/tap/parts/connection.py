"""
Builds the parts that several roles share.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from eventsvc.redis.connection import Connection
from eventsvc.redis.endpoint import MakeEndpoint, endpoint_maker
from eventsvc.redis.promotion import Promotion
from eventsvc.redis.sentinels import PrimaryEndpoint, Sentinels
from eventsvc.redis.switches import SentinelConnection, SwitchFollower
from eventsvc.settings import RedisSettings
from eventsvc.settings.addresses import Address

if TYPE_CHECKING:
    from eventsvc.producer.appender import Appender


def make_connection(reactor: Any, settings: RedisSettings, follow: bool = True, **more: Any) -> Connection:
    """
    Return a connection to Redis with the given settings: at its address, or at the one that Sentinels name.

    @param follow: whether to follow what the Sentinels announce.
    @raise InvalidSettings: the file of CA certificates is invalid.
    """
    make_endpoint = endpoint_maker(reactor, settings.tls, settings.tls_ca)
    common = {
        "clock": reactor,
        "jitter": random.random,
        "username": settings.username,
        "password": settings.password,
        "database": settings.database,
        "retry_period": settings.retry_period,
        **more,
    }
    if not settings.sentinels:
        return Connection(endpoint=make_endpoint(Address(settings.host, settings.port)), **common)
    sentinels = Sentinels(
        endpoints={address: make_endpoint(address) for address in settings.sentinels},
        clock=reactor,
        service=settings.sentinel_service,
        username=settings.sentinel_username,
        password=settings.sentinel_password,
    )
    return connection_by_sentinels(sentinels, make_endpoint, follow, common)


def connection_by_sentinels(
    sentinels: Sentinels, make_endpoint: MakeEndpoint, follow: bool, common: Mapping[str, Any]
) -> SentinelConnection:
    """
    Return a connection to the primary that Sentinels name.

    @param common: the fields of every L{Connection} but its endpoint.
    """
    primary = PrimaryEndpoint(sentinels, make_endpoint, common["clock"])
    connection = SentinelConnection(endpoint=primary, primary=primary, **common)
    if follow:
        connection.follower = SwitchFollower(
            primary=primary,
            promotion=Promotion(make_endpoint, connection.clock, connection.username, connection.password),
            jitter=connection.jitter,
            retry_period=connection.retry_period,
            look_again=connection.look_again,
        )
    return connection


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
