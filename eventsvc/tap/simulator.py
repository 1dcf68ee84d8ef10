"""Posts events to a producer at random times and counts the outcomes."""

from __future__ import annotations

from eventsvc.settings import ROLES
from eventsvc.tap.options import RoleOptions, make_later


class Options(RoleOptions):
    """C{twistd eventsvc simulator}, or C{twistd simulator}."""

    settings = ROLES["simulator"]


makeService = make_later("eventsvc.tap.parts.simulator")
