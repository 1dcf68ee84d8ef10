"""
Handlers for consumers that run as processes.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from eventsvc.event import Notification


def accept(_: Notification) -> None:
    """Finish at once."""


def hang(_: Notification) -> Deferred[None]:
    """Never finish."""
    return Deferred()
