"""Everything in one process, with a server of its own: to try it out."""

from __future__ import annotations

import sys
from typing import Any

import attrs
from twisted.application.service import IService

from eventsvc.embedded import EmbeddedServer, free_port
from eventsvc.settings import (
    ConsumerSettings,
    LogSettings,
    ProducerSettings,
    RedisSettings,
    StreamSettings,
)
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.health import Vitals
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.parts.consumer import add_consumer
from eventsvc.tap.parts.dashboard import add_dashboard
from eventsvc.tap.parts.producer import add_producer
from eventsvc.tap.parts.simulator import add_simulator
from eventsvc.tap.process import Listener, Process
from eventsvc.tap.tracing import start_tracing
from eventsvc.telemetry.logs import json_log


def make_process(options: RoleOptions) -> IService:
    """Build the process that is all roles at once; they start when the server accepts connections."""
    from twisted.internet import reactor

    log = json_log(options.read(LogSettings).level)
    process = Process(reactor, log)
    redis = RedisSettings(port=free_port())
    vitals = Vitals(reactor)
    tracing = start_tracing(reactor, options.read(TracingSettings), "dev", process, vitals.metrics)

    def add_roles() -> None:
        vitals.setServiceParent(process)
        limits = options.read(StreamSettings)
        streams = options.read(StreamListSettings).streams
        producer = options.read(ProducerSettings)
        producer = attrs.evolve(producer, host=producer.host or "127.0.0.1")
        listener = add_producer(
            process, reactor, redis, limits, producer, vitals, streams, lasting=False, tracing=tracing, with_lag=False
        )
        consumer, webhook = options.read(ConsumerSettings), options.read(WebhookSettings)
        add_consumer(process, reactor, redis, limits, consumer, webhook, log, vitals, lasting=False, tracing=tracing)
        settings = options.read(DashboardSettings)
        dashboard = add_dashboard(process, reactor, redis, streams, settings, vitals)
        _begin_traffic(process, reactor, options, listener, dashboard, redis)

    server = EmbeddedServer(reactor, redis.port, process.fail, ready=lambda: process.attempt(add_roles))
    server.setServiceParent(process)
    return process


def _begin_traffic(
    process: Process,
    reactor: Any,
    options: RoleOptions,
    listener: Listener,
    dashboard: Listener,
    redis: RedisSettings,
) -> None:
    """Post to the producer's port, which is known once it listens."""
    host = "127.0.0.1" if listener.interface in ("0.0.0.0", "::") else listener.interface
    port = listener.port
    url = f"http://{host}:{port}/event"
    sys.__stderr__.write(  # type: ignore[union-attr]
        f"""
    eventsvc is up; Ctrl-C stops it.
      producer  {url}
      dashboard http://127.0.0.1:{dashboard.port}/
      server    redis://127.0.0.1:{redis.port}, stream {redis.stream}
    Post an event yourself:
      curl -i --data '{{"description": "hello world"}}' {url}
    Post a CloudEvent; posted again, it gets the same Event-Id, because it is stored once:
      curl -i --data '{{"hello": "world"}}' -H 'Content-Type: application/json' \\
        -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me' -H 'ce-type: greeting' {url}

"""
    )
    settings = options.read(SimulatorSettings)
    settings = attrs.evolve(settings, host=host, port=port, tls=False, stream="", form=settings.form or "MIXED")
    add_simulator(process, reactor, settings, process.finish)
