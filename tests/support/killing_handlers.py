"""
Handlers that kill their process, as a crash of a library or the kernel does when memory is short.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from eventsvc.event import Notification

reactor: Any = _reactor

#: The description of the event that kills.
KILLER = "event 5"


def die() -> None:
    """End the process as the kernel does."""
    os.kill(os.getpid(), signal.SIGKILL)


def tell(notification: Notification) -> None:
    """Tell of an event that is handled."""
    os.write(2, f"{notification.description}\n".encode())


async def kill_soon(notification: Notification) -> None:
    """Die of one event in a moment, and take longer for any other."""
    if notification.description == KILLER:
        await deferLater(reactor, 0.05)
        die()
    await deferLater(reactor, 0.3)
    tell(notification)


def kill_plainly(notification: Notification) -> None:
    """Die of one event at once."""
    if notification.description == KILLER:
        die()
    tell(notification)


class Batches:
    """Dies of each batch with a certain event."""

    batch_size = 4

    def handle_batch(self, notifications: list[Notification]) -> None:
        """Handle a batch."""
        for notification in notifications:
            kill_plainly(notification)
