"""Runs all roles in one process with its own Redis or Valkey server, to try eventsvc out."""

from __future__ import annotations

import os

from eventsvc.embedded import NoServer, find_server
from eventsvc.settings import ConsumerSettings, LogSettings, ProducerSettings, StreamSettings
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.settings.dev import DevSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.options import make_later
from eventsvc.tap.reactor import choose_reactor
from eventsvc.tap.simulator import LOAD_FLAGS, LoadOptions


class Options(LoadOptions):
    """C{twistd eventsvc dev}."""

    settings = (
        DevSettings,
        StreamSettings,
        StreamListSettings,
        DashboardSettings,
        ProducerSettings,
        ConsumerSettings,
        WebhookSettings,
        SimulatorSettings,
        TracingSettings,
        LogSettings,
    )
    fixed = (
        "DEV_CHAOS",
        "DEV_SIMULATOR",
        "EVENT_PRODUCER_HOST",
        "EVENT_PRODUCER_PORT",
        "EVENT_PRODUCER_TLS",
        "EVENT_PRODUCER_TLS_CA",
        "EVENT_PRODUCER_STREAM",
        *LOAD_FLAGS,
    )

    def opt_chaos(self) -> None:
        """Break the link to Redis every few seconds, to see it heal. [DEV_CHAOS=on]"""
        self["chaos"] = "on"

    def opt_no_simulator(self) -> None:
        """Post no events. [DEV_SIMULATOR=off]"""
        self["simulator"] = "off"

    def check(self) -> None:
        """Check the settings, the handler, the host to post to, the directory, and that a server is installed."""
        super().check()
        settings = self.read(ConsumerSettings)
        if settings.handler == "webhook":
            self.read(WebhookSettings).check()
        choose_reactor(settings)
        host = self.read(ProducerSettings).host
        if ":" in host and host != "::":
            raise InvalidSettings(
                f"REST_SERVER_HOST={host!r}: dev posts to itself over IPv4: expected an IPv4 address or ::"
            )
        _make_directory(self.read(DevSettings).data_dir)
        try:
            find_server()
        except NoServer as remedy:
            raise InvalidSettings(str(remedy)) from None


def _make_directory(path: str) -> None:
    try:
        if path:
            os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidSettings(f"DEV_DATA_DIR={path!r}: expected a directory ({problem})") from None


makeService = make_later("eventsvc.tap.parts.dev")
