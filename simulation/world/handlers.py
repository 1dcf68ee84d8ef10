"""
The handler of simulated consumers: it keeps a record, and does what its world says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import Notification
from eventsvc.testing.history import Handling
from eventsvc.testing.history.content import content_of

#: The words in the description of an event that no handler can handle.
POISON: Final = "poison"
_worlds: list[Any] = []


@contextmanager
def ruling(world: Any) -> Iterator[None]:
    """Let the handlers that are made meanwhile belong to a world."""
    _worlds.append(world)
    try:
        yield
    finally:
        _worlds.pop()


@attrs.define
class Behaviour:
    """
    What the handler of a consumer does.

    @ivar way: C{fail}, C{stumble} (it fails once), C{again}, C{hang}, C{reject}, C{block}, or empty: it handles.
    @ivar seconds: that it takes, half of that at least and one and a half at most.
    """

    way: str = ""
    seconds: float = 0.0


class Handler:
    """Handles events as the behaviour of its consumer says, at each moment."""

    def __init__(self) -> None:
        self.world = _worlds[-1]
        self.process = self.world.timeline.current
        self.behaviour = self.world.behaviour(self.process.name)

    async def handle(self, notification: Notification) -> None:
        """Handle an event, or not."""
        await self._handle([notification])

    async def _handle(self, notifications: Sequence[Notification]) -> None:
        process = self.process
        self.world.happens(process, "handler:begin")
        behaviour = self.behaviour
        way = behaviour.way
        if way == "stumble":
            behaviour.way = ""
        if behaviour.seconds:
            if way == "block":
                process.block(behaviour.seconds)
            else:
                await deferLater(process.reactor, behaviour.seconds * (0.5 + process.random.random()))
        if behaviour.way == "hang":
            hanging: Deferred[None] = Deferred()
            self.world.hangs(process, hanging)
            await hanging
        poison = {each.stream_id for each in notifications if POISON in each.description}
        failed = way in ("fail", "stumble", "again", "reject") or len(poison) == len(notifications)
        if process.alive:
            for each in notifications:
                self._record(each, failed or each.stream_id in poison)
        if way == "again":
            raise RetryAfter(0.5)
        if way == "reject":
            raise Reject("rejected")
        if failed:
            raise ValueError(f"the handler fails on {', '.join(each.description for each in notifications)}")
        if poison:
            raise BatchFailed({id: ValueError("the handler fails on it") for id in poison})
        self.world.happens(process, "handler:end")

    def _record(self, notification: Notification, failed: bool) -> None:
        now, content = self.process.world.timeline.seconds(), None if failed else content_of(notification)
        handling = Handling(notification.id, self.process.name, now, failed, content)
        self.world.handled(handling, notification.stream_id, notification.description)


class AwaitableHandler:
    """Handles events as L{Handler}; its calls return what is neither a coroutine nor a Deferred."""

    def __init__(self) -> None:
        self._handler = Handler()

    def handle(self, notification: Notification) -> Awaitable[None]:
        """Handle an event, or not."""
        return _Later(self._handler.handle(notification))


class BatchHandler(Handler):
    """Handles several events with one call, and says which of them have failed."""

    batch_size = 4

    async def handle_batch(self, notifications: Sequence[Notification]) -> None:
        """Handle events, or some of them, or none."""
        await self._handle(notifications)


class _Later:
    """An awaitable that is neither a coroutine nor a Deferred."""

    def __init__(self, steps: Awaitable[None]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, None]:
        return self._steps.__await__()


#: The handler of each shape.
HANDLERS: Final = {
    "coroutine": f"{__name__}.Handler",
    "awaitable": f"{__name__}.AwaitableHandler",
    "batch": f"{__name__}.BatchHandler",
}
