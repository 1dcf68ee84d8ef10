"""Shows streams in a browser: figures, events, dead letters, processes."""

from __future__ import annotations

from eventsvc.settings import ROLES
from eventsvc.tap.options import RoleOptions, make_later


class Options(RoleOptions):
    """C{twistd eventsvc dashboard}."""

    settings = ROLES["dashboard"]


makeService = make_later("eventsvc.tap.parts.dashboard")
