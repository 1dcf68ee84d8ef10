"""Reads the stream through its group and gives each event to a handler."""

from __future__ import annotations

from eventsvc.settings import ROLES, ConsumerSettings
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.tap.options import RoleOptions, make_later
from eventsvc.tap.reactor import choose_reactor


class Options(RoleOptions):
    """C{twistd eventsvc consumer}, or C{twistd consumer}."""

    settings = ROLES["consumer"]

    def check(self) -> None:
        """Check that there is such a handler, and choose its reactor."""
        super().check()
        settings = self.read(ConsumerSettings)
        if settings.handler == "webhook":
            self.read(WebhookSettings).check()
        choose_reactor(settings)


makeService = make_later("eventsvc.tap.parts.consumer")
