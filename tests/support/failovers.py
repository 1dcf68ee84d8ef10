"""
A primary of consumers in memory, which may be replaced by a replica that lags.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred

from eventsvc.consumer.service import Consumer
from eventsvc.event import Notification
from eventsvc.testing import Link, MemoryEventGroup
from eventsvc.testing.group import Past
from tests.support.consumer_world import ConsumerWorld


def link_of(consumer: Consumer) -> Link:
    """Return the link of a consumer."""
    group = consumer.group
    assert isinstance(group, MemoryEventGroup)
    return group.link


@attrs.define
class Primary:
    """The server of a stream, which may be replaced by a replica that lags."""

    world: ConsumerWorld
    past: Past = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keep()

    def keep(self) -> None:
        """Let the replica have the present state."""
        self.past = Past.of(self.world.stream)

    def fail(self) -> None:
        """Lose the primary."""
        for consumer in self.world.consumers:
            link_of(consumer).disconnect()
        self.past.return_to(self.world.stream)

    def promote(self) -> None:
        """Make the replica the primary."""
        for consumer in self.world.consumers:
            link_of(consumer).connect()

    def fail_over(self, *added: str) -> None:
        """Replace the primary; others add events before the consumers are there."""
        self.fail()
        self.world.add(*added)
        self.promote()


@attrs.define
class Calls:
    """A handler that ends when it is told to."""

    world: ConsumerWorld
    ends: dict[str, Deferred[None]] = attrs.field(factory=dict)

    def __call__(self, notification: Notification) -> Deferred[None]:
        self.world.see(notification)
        return self.ends.setdefault(notification.description, Deferred())

    def end(self, *descriptions: str) -> None:
        for text in descriptions:
            self.ends[text].callback(None)
        self.world.run(1.0)
