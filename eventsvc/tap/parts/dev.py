"""Everything in one process, with a server of its own: to try it out."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from functools import partial
from random import SystemRandom
from typing import Any, Final

import attrs
from twisted.application.service import IService
from twisted.logger import LogLevel

from eventsvc.consumer.service import Consumer
from eventsvc.embedded import EmbeddedServer, free_port
from eventsvc.redis.connection import Connection
from eventsvc.redis.measuring import measure
from eventsvc.settings import (
    ConsumerSettings,
    GroupSettings,
    LogSettings,
    ProducerSettings,
    RedisSettings,
    StreamSettings,
)
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.settings.dev import DevSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.demo.account import Account, LastWords
from eventsvc.tap.demo.banner import Places
from eventsvc.tap.demo.faulty_link import Faults, FaultyLink
from eventsvc.tap.demo.screen import Screen, make_console
from eventsvc.tap.health import Vitals
from eventsvc.tap.options import RoleOptions
from eventsvc.tap.parts.connection import AppenderService, make_connection
from eventsvc.tap.parts.consumer import add_consumer
from eventsvc.tap.parts.dashboard import add_dashboard
from eventsvc.tap.parts.producer import add_producer
from eventsvc.tap.parts.simulator import add_simulator
from eventsvc.tap.process import Listener, Process
from eventsvc.tap.tracing import start_tracing
from eventsvc.telemetry.log_output import LogOutput
from eventsvc.telemetry.logs import ServiceLog, has_colours, is_terminal, make_log
from eventsvc.text_lines import TextLines

#: Ports that are tried, from the usual one on.
_PORTS: Final = 100


def make_process(options: RoleOptions) -> IService:
    """Build the process that is all roles at once; they start when the server accepts connections."""
    from twisted.internet import reactor

    settings = options.read(LogSettings)
    log = event_log = make_log(settings)
    shown: Screen | LastWords = LastWords()
    if settings.format == "AUTO" and is_terminal():
        coloured = has_colours(os.environ)
        sys.__stdout__.reconfigure(errors="replace")  # type: ignore[union-attr]  # it may be in ASCII
        shown = Screen(make_console(sys.__stdout__, coloured), reactor)  # twistd takes sys.stdout for its log
        text = TextLines(coloured, brief=True)
        log = ServiceLog(LogOutput(shown.take_log), max(log.least, LogLevel.warn), text)
        event_log = ServiceLog(LogOutput(shown.take_events), log.least, text)
    process = Process(reactor, log)
    shown.setServiceParent(process)
    process.say = shown.say
    dev = Dev(options, reactor, process, event_log, shown, RedisSettings(port=free_port()))
    data = options.read(DevSettings).data_dir
    keep = ["--dir", os.path.abspath(data), "--appendonly", "yes"] if data else []
    server = EmbeddedServer(reactor, dev.redis.port, process.fail, keep, ready=lambda: process.attempt(dev.add_roles))
    server.setServiceParent(process)
    return process


@attrs.frozen(eq=False)
class Dev:
    """
    Puts all roles into a process.

    @ivar event_log: where the default handler writes events.
    @ivar shown: what is told to whoever tries it out.
    @ivar redis: the server.
    """

    options: RoleOptions
    reactor: Any
    process: Process
    event_log: ServiceLog
    shown: Screen | LastWords
    redis: RedisSettings

    def add_roles(self) -> None:
        """Add them; the server accepts connections."""
        options, process = self.options, self.process
        settings, limits = options.read(DevSettings), options.read(StreamSettings)
        vitals = Vitals(self.reactor)
        vitals.setServiceParent(process)
        tracing = start_tracing(self.reactor, options.read(TracingSettings), "dev", process, vitals.metrics)
        link = FaultyLink(self.reactor, free_port(), self.redis.port)
        redis = attrs.evolve(self.redis, port=link.port) if settings.chaos else self.redis
        if settings.chaos:
            link.setServiceParent(process)
        producer = options.read(ProducerSettings)
        port = self._find_port("rest-server-port", "REST_SERVER_PORT", producer.port)
        producer = attrs.evolve(producer, host=producer.host or "127.0.0.1", port=port)
        consumer, webhook = options.read(ConsumerSettings), options.read(WebhookSettings)
        common = (process, self.reactor, redis, limits)
        streams = options.read(StreamListSettings).streams
        listener = add_producer(*common, producer, vitals, streams, lasting=False, tracing=tracing, with_lag=False)
        add_consumer(*common, consumer, webhook, self.event_log, vitals, lasting=False, tracing=tracing)
        pages = options.read(DashboardSettings)
        pages = attrs.evolve(pages, port=self._find_port("dashboard-port", "DASHBOARD_PORT", pages.port))
        dashboard = add_dashboard(process, self.reactor, self.redis, streams, pages, vitals)
        self._add_account(limits.group, 0 if settings.data_dir else consumer.max_len)
        url = _url_of(listener)
        places = Places(
            producer=f"{url}/event",
            dashboard=f"{_url_of(dashboard)}/",
            redis=f"127.0.0.1:{self.redis.port}",
            stream=self.redis.stream,
            data_dir=settings.data_dir,
            command=_find_command(),
        )
        self.shown.say(places.describe())
        if settings.chaos:
            Faults(link, self.reactor, SystemRandom(), self.shown.say).setServiceParent(process)
        if settings.simulator:
            self._add_simulator(listener)

    def _find_port(self, flag: str, name: str, port: int) -> int:
        """Return the port of a setting; if it was not chosen and is taken, the next one that is free."""
        if self.options.get(flag) is not None or name in os.environ:
            return port
        for number in range(port, port + _PORTS):
            try:
                with socket.create_server(("127.0.0.1", number)):
                    break
            except OSError:
                continue
        else:
            return port
        if number != port:
            self.shown.say(f"Port {port} is taken, so {number} is used instead")
        return number

    def _add_account(self, group: str, most: int) -> None:
        connection = make_connection(self.reactor, self.redis, lasting=False)
        connection.setServiceParent(self.process)
        parts = list(self.process)
        [consumer] = [part for part in parts if isinstance(part, Consumer)]
        appender = next(part.appender for part in parts if isinstance(part, AppenderService))  # of REDIS_STREAM
        account = Account(
            produced=appender.counts,
            consumed=consumer.in_flight.counts,
            measure=partial(measure, connection, self.redis.stream, group, with_dead=True),
            clock=self.reactor,
            most=most,
        )
        account.setServiceParent(self.process)
        used = next(part for part in parts if isinstance(part, Connection))  # that of the producer
        self.shown.show(account, lambda: "" if used.ready else used.problem or "connecting")

    def _add_simulator(self, listener: Listener) -> None:
        """Post to the producer's port, which is known once it listens."""
        settings = self.options.read(SimulatorSettings)
        settings = attrs.evolve(
            settings,
            host=_host_of(listener),
            port=listener.port,
            tls=False,
            stream="",
            form=settings.form or "MIXED",
        )
        group = self.options.read(GroupSettings).group
        say = self.shown.say if isinstance(self.shown, Screen) else None
        add_simulator(self.process, self.reactor, settings, self.process.finish, self.redis, group, say)


def _host_of(listener: Listener) -> str:
    return "127.0.0.1" if listener.interface in ("", "0.0.0.0", "::") else listener.interface


def _find_command() -> str:
    """Return what to type for the command C{eventsvc}: its path, if the shell would not find it."""
    beside = os.path.join(os.path.dirname(sys.executable), "eventsvc")
    return "eventsvc" if shutil.which("eventsvc") or not os.path.exists(beside) else os.path.relpath(beside)


def _url_of(listener: Listener) -> str:
    host = _host_of(listener)
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.port}"
