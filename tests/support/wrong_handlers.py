"""
Handlers as users write them, for tests of real processes: wrong, slow, blocking.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

from eventsvc.event import Notification
from eventsvc.handlers import asyncio_handler


def generator(_: Notification) -> Iterator[int]:
    """A forgotten C{inlineCallbacks}."""
    yield 1


async def async_generator(_: Notification) -> Any:
    """An C{async def} that yields."""
    yield 1


def no_argument() -> None:
    """It cannot take an event."""


class Class:
    """A class where its instance was meant."""

    def __call__(self, _: Notification) -> None: ...


class _Flushes:
    def __call__(self, _: Notification) -> None: ...

    def flush(self) -> None:
        """Nobody calls it."""


class _HandlesNothing:
    def handle(self, _: Notification) -> Iterator[int]:
        yield 1


flushes = _Flushes()
handles_nothing = _HandlesNothing()


class HandlesNoEvent:
    """Its method takes no event."""

    def handle(self) -> None: ...


class StartsNothing:
    """It would never have started."""

    def start(self) -> Iterator[int]:
        """A generator."""
        yield 1

    def handle(self, _: Notification) -> None: ...


class TakesTwo:
    """Nobody knows what to make it with."""

    def __init__(self, first: object, second: object) -> None: ...

    def handle(self, _: Notification) -> None: ...


class WrongSettings:
    """Its settings have no names in the environment."""

    settings = {"url": ""}

    def __init__(self, settings: object) -> None: ...

    def handle(self, _: Notification) -> None: ...


def exit_plainly(_: Notification) -> None:
    """What C{sys.exit} does in a library."""
    sys.exit(0)


async def exit_later(_: Notification) -> None:
    """The same, in a coroutine."""
    sys.exit(0)


async def _exit_in_task() -> None:
    sys.exit(0)


@asyncio_handler
async def exit_in_task(_: Notification) -> None:
    """The same, in a task of asyncio."""
    await asyncio.gather(_exit_in_task())


def take_10_ms(notification: Notification) -> None:
    """A plain handler that takes its time, and tells of each event."""
    time.sleep(0.01)
    sys.__stderr__.write(f"{notification.description}\n")  # type: ignore[union-attr]
    sys.__stderr__.flush()  # type: ignore[union-attr]
