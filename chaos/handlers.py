"""
Handlers that are slow or fail on some events.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger

from chaos import FAILED
from eventsvc.event import Notification
from eventsvc.handlers.log import LogHandler
from eventsvc.telemetry.logs import standard_output

_logger = Logger()


async def slow(notification: Notification) -> None:
    """Take 10 ms for each event."""
    await _pause(0.01)
    await say(notification)


class _Slow:
    """An awaitable that is neither a Deferred nor a coroutine."""

    def __init__(self, notification: Notification) -> None:
        self.notification = notification

    def __await__(self) -> Generator[Any, Any, None]:
        return slow(self.notification).__await__()


def awaitable(notification: Notification) -> Awaitable[None]:
    """Return an awaitable that takes 10 ms for each event."""
    return _Slow(notification)


class Plain:
    """A handler of batches that blocks, and writes the lines of several events together."""

    batch_size = 10

    def handle_batch(self, notifications: Sequence[Notification]) -> Awaitable[None]:
        """Block for 30 ms for each event."""
        time.sleep(0.03 * len(notifications))
        return say(*notifications)


def picky(notification: Notification) -> Awaitable[None]:
    """Fail on poison events at every delivery."""
    if " poison " in notification.description:
        _logger.info(FAILED, details={"id": notification.id})
        raise ValueError("poison")
    return say(notification)


class Hanging:
    """
    Hangs for ever on poison events.

    On one in fifty others it hangs at the first delivery, even if it is cancelled.
    """

    def __init__(self) -> None:
        self.hung: set[int] = set()

    async def handle(self, notification: Notification) -> None:
        """Take 10 ms, or hang."""
        await _pause(0.01)
        if " poison " in notification.description:
            await Deferred()
        if notification.id % 50 == 0 and notification.deliveries == 1 and notification.id not in self.hung:
            self.hung.add(notification.id)
            try:
                await Deferred()
            except CancelledError:
                await Deferred()
        await say(notification)


def say(*notifications: Notification) -> Deferred[None]:
    """Write the lines of events that were handled, in the reactor's thread."""
    from twisted.internet import reactor

    log = LogHandler(standard_output().write, time.time_ns, reactor.callFromThread)  # type: ignore[attr-defined]
    return log.handle_batch(notifications)


def say_in_thread(*notifications: Notification) -> None:
    """Write the lines of events that were handled, and return once they are written."""
    from twisted.internet import reactor

    blockingCallFromThread(cast(IReactorFromThreads, reactor), cast(Any, say), *notifications)


def _pause(seconds: float) -> Awaitable[Any]:
    from twisted.internet import reactor

    return deferLater(reactor, seconds)
