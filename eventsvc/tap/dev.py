"""Everything in one process, with a server of its own: to try it out."""

from __future__ import annotations

from eventsvc.embedded import NoServer, find_server
from eventsvc.settings import ConsumerSettings, LogSettings, ProducerSettings, SimulatorSettings, StreamSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.options import RoleOptions, make_later
from eventsvc.tap.reactor import choose_reactor


class Options(RoleOptions):
    """C{twistd eventsvc dev}."""

    settings = (StreamSettings, ProducerSettings, ConsumerSettings, SimulatorSettings, LogSettings)
    fixed = ("EVENT_PRODUCER_HOST", "EVENT_PRODUCER_PORT")

    def check(self) -> None:
        """Check that there are such a handler and a server, and that it can post to itself, as well."""
        super().check()
        choose_reactor(self.read(ConsumerSettings))
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
