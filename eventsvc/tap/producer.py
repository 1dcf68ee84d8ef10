"""Accepts events over HTTP and stores them in the stream."""

from __future__ import annotations

from eventsvc.settings import ROLES
from eventsvc.tap.options import RoleOptions, make_later


class Options(RoleOptions):
    """C{twistd eventsvc producer}, or C{twistd producer}."""

    settings = ROLES["producer"]


makeService = make_later("eventsvc.tap.parts.producer")
