"""Runs all roles in one process with its own Redis or Valkey server, to try eventsvc out."""

from __future__ import annotations

from eventsvc.embedded import NoServer, find_server
from eventsvc.settings import ConsumerSettings, LogSettings, ProducerSettings, StreamSettings
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.options import RoleOptions, make_later
from eventsvc.tap.reactor import choose_reactor


class Options(RoleOptions):
    """C{twistd eventsvc dev}."""

    settings = (
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
        "EVENT_PRODUCER_HOST",
        "EVENT_PRODUCER_PORT",
        "EVENT_PRODUCER_TLS",
        "EVENT_PRODUCER_TLS_CA",
        "EVENT_PRODUCER_STREAM",
    )

    def check(self) -> None:
        """Check the settings, the handler, the host to post to, and that a server is installed."""
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
        try:
            find_server()
        except NoServer as remedy:
            raise InvalidSettings(str(remedy)) from None


makeService = make_later("eventsvc.tap.parts.dev")
