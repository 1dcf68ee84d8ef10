"""
Handlers for consumers that are slow, or fail on some events.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger

from chaos import FAILED
from eventsvc.event import Notification
from eventsvc.logs import LogHandler, json_log

_log = LogHandler(json_log("INFO"), time.time_ns)
_logger = Logger()


async def slow(notification: Notification) -> None:
    """Take 10 ms for each event."""
    await _pause(0.01)
    _say(notification)


def plain(notification: Notification) -> None:
    """Take 30 ms for each event, in which nothing else is done."""
    time.sleep(0.03)
    _say(notification)


def picky(notification: Notification) -> None:
    """Fail on events that are poison, whenever they come."""
    if " poison " in notification.description:
        _logger.info(FAILED, details={"id": notification.id})
        raise ValueError("poison")
    _say(notification)


def _say(notification: Notification) -> None:
    _log(notification)
    _log.flush()


def _pause(seconds: float) -> Awaitable[Any]:
    from twisted.internet import reactor

    return deferLater(reactor, seconds)
