"""
Handlers for consumers that tests start as processes.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from eventsvc.event import Notification


def accept(_: Notification) -> None:
    """Do nothing, and be done."""


def hang(_: Notification) -> Deferred[None]:
    """Never be done."""
    return Deferred()
