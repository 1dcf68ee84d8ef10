"""
Health and figures on a port of their own, for a role that serves no events.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.web.arrivals import Arrivals
from eventsvc.web.health import Health, serve_health
from eventsvc.web.routing import make_app
from eventsvc.web.site import BoundedSite

#: Seconds a request may take.
TIMEOUT: Final = 10.0
#: Most connections to a port that serves nothing else.
MAX_CONNECTIONS: Final = 64


@attrs.define(eq=False, slots=False)
class AdminApi:
    """The HTTP interface of a role that serves no events."""

    app = make_app()
    serve_health(app)
    health: Health
    arrivals: Arrivals = attrs.field(factory=Arrivals)


def make_admin_site(health: Health, clock: IReactorTime) -> BoundedSite:
    """Serve health and figures."""
    return BoundedSite(AdminApi(health), TIMEOUT, clock, MAX_CONNECTIONS)
