"""
Handlers that each fail in a different way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.task import deferLater

from eventsvc.event import Notification
from tests.support.consumer_world import ConsumerWorld


class Own(BaseException):
    """An exception of somebody who read too little."""


def generate(_: object) -> Iterator[int]:
    """Return a generator that nothing iterates."""
    yield 1


async def generate_async(_: object) -> Any:
    """Return an async generator that nothing iterates."""
    yield 1


def raise_now(error: BaseException) -> Any:
    """Raise an error; usable in an expression."""
    raise error


#: At once, as a coroutine that takes its time, and as a Deferred that has failed.
HOW = ["now", "later", "failed"]


def raiser(world: ConsumerWorld, how: str, error: BaseException) -> Callable[[Notification], Any]:
    """Return a handler that fails on the event C{bad}, in one of the ways of L{HOW}."""

    async def later(notification: Notification) -> None:
        await deferLater(world.clock, 0.1)
        if notification.description == "bad":
            raise error
        world.see(notification)

    def now(notification: Notification) -> None:
        if notification.description == "bad":
            raise error
        world.see(notification)

    def failed(notification: Notification) -> Any:
        return fail(error) if notification.description == "bad" else world.see(notification)

    return {"now": now, "later": later, "failed": failed}[how]
