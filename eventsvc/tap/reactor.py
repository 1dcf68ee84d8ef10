"""
Chooses the reactor of a consumer, before anything imports one.
"""

from __future__ import annotations

import asyncio
import sys

from twisted.internet import asyncioreactor

from eventsvc.settings import ConsumerSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.handler_loading import find_handler


def choose_reactor(settings: ConsumerSettings) -> None:
    """
    Check the handler, and install asyncio's reactor if the settings or the handler ask for it.

    @raise InvalidSettings: there is no such handler, it can never handle an
        event, or another reactor is there already.
    """
    if settings.reactor == "ASYNCIO":
        _install_asyncio("REACTOR=asyncio: another reactor was chosen: expected `twistd --reactor asyncio` or none")
    handler = find_handler(settings.handler)
    if settings.reactor == "AUTO" and getattr(handler, "reactor", None) == "asyncio":
        _install_asyncio(
            f"--handler: {settings.handler!r} needs asyncio's reactor, but another is there already, because its "
            "module imports Twisted's or `twistd --reactor` names it: expected REACTOR=asyncio"
        )


def _install_asyncio(otherwise: str) -> None:
    """
    Install asyncio's reactor, unless it is there.

    @raise InvalidSettings: another is there.
    """
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is None:
        asyncioreactor.install(asyncio.new_event_loop())
    elif not isinstance(installed, asyncioreactor.AsyncioSelectorReactor):
        raise InvalidSettings(otherwise)
