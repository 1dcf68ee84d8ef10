"""
Handlers in each shape that C{CONSUMER_HANDLER} may name, for tests of real processes.
Each tells of an event on standard error, as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping

import attrs
from twisted.internet.defer import Deferred, succeed

from eventsvc.handlers import Notification, Reject, RetryAfter, asyncio_handler, handler_factory
from eventsvc.settings.kinds import COUNT, TEXT
from eventsvc.settings.reading import setting


def tell(notification: Notification, **more: object) -> None:
    """Tell of an event."""
    line = {"handled": notification.description, "deliveries": notification.deliveries, **more}
    os.write(2, f"{json.dumps(line)}\n".encode())


def say(word: str) -> None:
    """Tell of something else."""
    os.write(2, f"{json.dumps({'said': word})}\n".encode())


def function(notification: Notification) -> None:
    tell(notification)


async def coroutine(notification: Notification) -> None:
    await succeed(None)
    tell(notification)


def deferred(notification: Notification) -> Deferred[None]:
    return succeed(None).addCallback(lambda _: tell(notification))


@asyncio_handler
async def on_asyncio(notification: Notification) -> None:
    """Use what only asyncio has: a task, a timeout, a Deferred in the middle."""
    async with asyncio.timeout(5.0):
        await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0.002))
        await succeed(None)
    assert asyncio.current_task() is not None
    tell(notification)


async def unmarked_asyncio(notification: Notification) -> None:
    """The same without the mark: for REACTOR=asyncio."""
    await asyncio.sleep(0.001)
    tell(notification)


@asyncio_handler
class AsyncioPool:
    """A class with a pool that is opened and closed."""

    async def start(self) -> None:
        await asyncio.sleep(0.01)
        say("started")

    async def handle(self, notification: Notification) -> None:
        await asyncio.sleep(0.001)
        tell(notification)

    async def stop(self) -> None:
        await asyncio.sleep(0.01)
        say("stopped")


class Batches:
    """A class that takes batches."""

    batch_size = 4

    def handle_batch(self, notifications: list[Notification]) -> None:
        assert 1 <= len(notifications) <= self.batch_size
        for notification in notifications:
            tell(notification, batch=len(notifications))


class _Object:
    def handle(self, notification: Notification) -> None:
        tell(notification)


instance = _Object()


@attrs.frozen
class GreeterSettings:
    """The settings of a handler of our own."""

    greeting: str = setting("GREETER_WORDS", TEXT, "hello", "What is said.")
    times: int = setting("GREETER_TIMES", COUNT, 1, "How often.")


class Greeter:
    """A class that is made with its settings."""

    settings = GreeterSettings

    def __init__(self, settings: GreeterSettings) -> None:
        self.greeting = settings.greeting * settings.times

    def handle(self, notification: Notification) -> None:
        tell(notification, greeting=self.greeting)


class FromEnvironment:
    """A class that is made with the environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.words = environment["GREETER_WORDS"]

    def handle(self, notification: Notification) -> None:
        tell(notification, greeting=self.words)


@handler_factory
def made() -> Callable[[Notification], Awaitable[None]]:
    """Make a function."""

    async def handle(notification: Notification) -> None:
        tell(notification)

    return handle


class Broken:
    """It cannot be made."""

    def __init__(self) -> None:
        raise OSError("no such table")

    def handle(self, _: Notification) -> None: ...


class CannotStart:
    """It can be made, and not started."""

    async def start(self) -> None:
        raise OSError("no database")

    def handle(self, _: Notification) -> None: ...


def block(notification: Notification) -> None:
    """Block whatever thread this is: for 50 ms, and from event 36 on until the file of C{NEEDED_FILE} is there."""
    time.sleep(0.05)
    if notification.id >= 36:
        say("blocks")
        while not os.path.exists(os.environ["NEEDED_FILE"]):
            time.sleep(0.01)
    tell(notification, thread=threading.current_thread() is not threading.main_thread(), key=notification.key)


async def hang(notification: Notification) -> None:
    """Hang on one event, without an end."""
    if notification.description == "event 1":
        await Deferred()
    tell(notification)


@asyncio_handler
async def hang_on_asyncio(notification: Notification) -> None:
    """Hang on one event, in what asyncio waits for."""
    if notification.description == "event 1":
        await asyncio.Event().wait()
    tell(notification)


class _CallableWithPool:
    def start(self) -> None:
        say("started")

    def __call__(self, notification: Notification) -> None:
        tell(notification)

    def stop(self) -> None:
        say("stopped")


callable_with_pool = _CallableWithPool()


class NoBatch:
    """A class that takes batches of nothing."""

    batch_size = 0

    def handle_batch(self, _: list[Notification]) -> None: ...


_seen: dict[str, int] = {}


def choosy(notification: Notification) -> None:
    """Reject one event, and want another again a little later."""
    seen = _seen[notification.description] = _seen.get(notification.description, 0) + 1
    if notification.description == "event 1":
        raise Reject("never this one")
    if notification.description == "event 2" and seen < 8:
        raise RetryAfter(0.01)
    tell(notification, seen=seen)


def while_there_is_a_file(notification: Notification) -> None:
    """Fail unless the file of C{NEEDED_FILE} is there."""
    with open(os.environ["NEEDED_FILE"], encoding="utf-8"):
        tell(notification)
