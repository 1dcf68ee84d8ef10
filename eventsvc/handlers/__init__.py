"""
What a handler needs: the event, what it may raise, and how it says what it is.

The modules in this package are ready-made handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import Notification

__all__ = ["BatchFailed", "Notification", "Reject", "RetryAfter", "asyncio_handler", "handler_factory"]

T = TypeVar("T", bound=Callable[..., Any])


def asyncio_handler(handler: T) -> T:
    """Mark a function or class as one that needs asyncio: the consumer then runs on asyncio's reactor."""
    handler.reactor = "asyncio"  # type: ignore[attr-defined]
    return handler


def handler_factory(factory: T) -> T:
    """
    Mark a function as one that makes a handler: the consumer calls it once, when it starts.

    It is called with the environment if it takes an argument.  If it has an
    attribute C{settings}, an attrs class of L{eventsvc.settings.reading.setting},
    it is called with that class, filled from the environment.
    """
    factory.is_handler_factory = True  # type: ignore[attr-defined]
    return factory
