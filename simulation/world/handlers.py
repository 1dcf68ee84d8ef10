"""
The handler of simulated consumers: it keeps a record, and does what its world says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from eventsvc.errors import Reject, RetryAfter
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

    @ivar way: C{fail}, C{again}, C{hang}, C{reject}, C{block}, or empty: it handles.
    @ivar seconds: that it takes.
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
        process = self.process
        self.world.happens(process, "handler:begin")
        behaviour = self.behaviour
        way = behaviour.way
        if behaviour.seconds:
            if way == "block":
                process.block(behaviour.seconds)
            else:
                await deferLater(process.reactor, behaviour.seconds)
        if way == "hang":
            hanging: Deferred[None] = Deferred()
            self.world.hangs(process, hanging)
            await hanging
        failed = way in ("fail", "again", "reject") or POISON in notification.description
        if process.alive:
            self.world.handled(
                Handling(
                    notification.id,
                    process.name,
                    process.world.timeline.seconds(),
                    failed,
                    None if failed else content_of(notification),
                )
            )
        if way == "again":
            raise RetryAfter(0.5)
        if way == "reject":
            raise Reject("rejected")
        if failed:
            raise ValueError(f"the handler fails on {notification.description}")
        self.world.happens(process, "handler:end")
