"""
Handlers for consumers that run as processes.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from eventsvc.event import Notification

reactor: Any = _reactor


def accept(_: Notification) -> None:
    """Finish at once."""


def hang(_: Notification) -> Deferred[None]:
    """Never finish."""
    return Deferred()


async def take_turns(notification: Notification) -> None:
    """Print the data of an event when it is handled, which takes every fourth a while."""
    if notification.data["number"] % 4 == 0:
        await deferLater(reactor, 0.05)
    print(json.dumps([notification.key, notification.data["number"]]))


async def wait(_: Notification) -> None:
    """Finish after a moment, as a handler that asks another service."""
    await deferLater(reactor, 0.05)
