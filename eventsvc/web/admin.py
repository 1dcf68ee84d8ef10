"""
Serves health and metrics on a separate port, for a role that has no event routes.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.web.arrivals import Arrivals
from eventsvc.web.health import Health, serve_health
from eventsvc.web.routing import make_app
from eventsvc.web.site import BoundedSite

#: Longest duration of a request, in seconds.
TIMEOUT: Final = 10.0
#: Most connections to the port at once.
MAX_CONNECTIONS: Final = 64


@attrs.define(eq=False, slots=False)
class AdminApi:
    """The HTTP interface of a role that has no event routes."""

    app = make_app()
    serve_health(app)
    health: Health
    arrivals: Arrivals = attrs.field(factory=Arrivals)


def make_admin_site(health: Health, clock: IReactorTime) -> BoundedSite:
    """Return a site that serves health and metrics."""
    return BoundedSite(AdminApi(health), TIMEOUT, clock, MAX_CONNECTIONS)
