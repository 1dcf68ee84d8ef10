"""Runs all roles in one process with its own Redis or Valkey server, to try eventsvc out."""

from __future__ import annotations

import sys
from typing import Any

import attrs
from twisted.application.service import IService

from eventsvc.embedded import EmbeddedServer, NoServer, find_server, free_port
from eventsvc.settings import (
    ConsumerSettings,
    LogSettings,
    ProducerSettings,
    RedisSettings,
    SimulatorSettings,
    StreamSettings,
)
from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.consumer import add_consumer, check_handler
from eventsvc.tap.health import Vitals
from eventsvc.tap.options import RoleOptions, edge
from eventsvc.tap.process import Listener, Process
from eventsvc.tap.producer import add_producer
from eventsvc.tap.simulator import add_simulator
from eventsvc.telemetry.logs import json_log


class Options(RoleOptions):
    """C{twistd eventsvc dev}."""

    settings = (StreamSettings, ProducerSettings, ConsumerSettings, SimulatorSettings, LogSettings)
    fixed = ("EVENT_PRODUCER_HOST", "EVENT_PRODUCER_PORT")

    def check(self) -> None:
        """Check the settings, the handler, the host to post to, and that a server is installed."""
        super().check()
        check_handler(self.read(ConsumerSettings).handler)
        host = self.read(ProducerSettings).host
        if ":" in host and host != "::":
            raise InvalidSettings(
                f"REST_SERVER_HOST={host!r}: dev posts to itself over IPv4: expected an IPv4 address or ::"
            )
        try:
            find_server()
        except NoServer as remedy:
            raise InvalidSettings(str(remedy)) from None


@edge
def makeService(options: RoleOptions) -> IService:
    """Build the process of all roles; they start once the server accepts connections."""
    from twisted.internet import reactor

    log = json_log(options.read(LogSettings).level)
    process = Process(reactor, log)
    redis = RedisSettings(port=free_port())

    def add_roles() -> None:
        vitals = Vitals(reactor)
        vitals.setServiceParent(process)
        limits = options.read(StreamSettings)
        producer = options.read(ProducerSettings)
        producer = attrs.evolve(producer, host=producer.host or "127.0.0.1")
        listener = add_producer(process, reactor, redis, limits, producer, vitals, lasting=False)
        consumer = options.read(ConsumerSettings)
        add_consumer(process, reactor, redis, limits, consumer, log, vitals, lasting=False)
        _begin_traffic(process, reactor, options, listener, redis)

    server = EmbeddedServer(reactor, redis.port, process.fail, ready=lambda: process.attempt(add_roles))
    server.setServiceParent(process)
    return process


def _begin_traffic(
    process: Process, reactor: Any, options: RoleOptions, listener: Listener, redis: RedisSettings
) -> None:
    """Start the simulator; the producer's port is known only once it listens."""
    host = "127.0.0.1" if listener.interface in ("0.0.0.0", "::") else listener.interface
    port = listener.port
    sys.__stderr__.write(  # type: ignore[union-attr]
        f"""
    eventsvc is up; Ctrl-C stops it.
      producer  http://{host}:{port}/event
      server    redis://127.0.0.1:{redis.port}, stream {redis.stream}
    Post an event yourself:
      curl -i --data '{{"description": "hello world"}}' http://{host}:{port}/event

"""
    )
    settings = attrs.evolve(options.read(SimulatorSettings), host=host, port=port)
    add_simulator(process, reactor, settings, process.finish)
