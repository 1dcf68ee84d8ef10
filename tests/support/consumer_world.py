"""
Consumers on a fake clock, with their stream in memory and the events that their
handlers saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.task import Clock, deferLater

from eventsvc.consumer.bound_handler import BoundHandler, do_nothing
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, Notification, encode_notification
from eventsvc.testing import Fate, Link, MemoryEventGroup, MemoryStream
from eventsvc.testing.clock import StrictClock, run_clock
from eventsvc.testing.log import Group, Pending
from eventsvc.testing.process import make_consumer


@attrs.define
class ConsumerWorld:
    """A stream, and the events that handlers saw."""

    clock: Clock
    stream: MemoryStream
    seen: list[str] = attrs.field(factory=list)
    consumers: list[Consumer] = attrs.field(factory=list)

    def add(self, *descriptions: str) -> None:
        """Add events to the stream."""
        for text in descriptions:
            self.stream.add({EVENT_FIELD: encode_notification(Notification(1, text, "now"))})

    def consumer(
        self,
        handler: Callable[[Notification], Any] | None = None,
        fates: Iterable[Fate] = (),
        name: str = "consumer",
        batch: Callable[[list[Notification]], Any] | None = None,
        batch_size: int = 1_000,
        timeout: float = 0.0,
        start: Callable[[], object] = do_nothing,
        stop: Callable[[], object] = do_nothing,
        group_type: type[MemoryEventGroup] = MemoryEventGroup,
        wrap: Callable[[BoundHandler], BoundHandler] = lambda bound: bound,
        **options: Any,
    ) -> Consumer:
        """Return a started consumer; its options are those of L{make_consumer}."""
        group = group_type(self.stream, Link(self.clock, iter(fates)), consumer=name)
        bound = BoundHandler(
            function=batch or handler or self.see,
            clock=self.clock,
            batch_size=batch_size if batch else 0,
            timeout=timeout,
            start=start,
            stop=stop,
        )
        consumer = make_consumer(group, wrap(bound), self.clock, **options)
        consumer.startService()
        self.consumers.append(consumer)
        return consumer

    def see(self, notification: Notification) -> None:
        """A handler that only records the event."""
        self.seen.append(notification.description)

    def slow(self, seconds: float) -> Callable[[Notification], Any]:
        """A realistic handler: a coroutine that takes time before it has handled the event."""

        async def handle(notification: Notification) -> None:
            await deferLater(self.clock, seconds)
            self.see(notification)

        return handle

    def leave_pending(self, consumer: str, *descriptions: str, idle: float = 0.0) -> None:
        """Leave events pending with an absent consumer, idle for the given time."""
        group = self.stream.groups.setdefault("group", Group())
        first = max(self.stream.entries, default=0) + 1
        group.last = first + len(descriptions) - 1  # before they are there: a read that waits must not get them
        self.add(*descriptions)
        for place in range(first, group.last + 1):
            group.pending[place] = Pending(consumer, self.clock.seconds() - idle)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        run_clock(self.clock, seconds)

    def stop(self, consumer: Consumer) -> None:
        """Stop a consumer, and check that it ends in time."""
        self.consumers.remove(consumer)
        stopping = consumer.stopService()
        self.run(consumer.drain_timeout + 3.0)
        assert stopping.called

    @property
    def pending(self) -> list[int]:
        """Return the positions of the unacknowledged entries."""
        return sorted(self.stream.groups["group"].pending)

    @property
    def dead(self) -> dict[str, str]:
        """Return the reason and error of each dead letter, by id."""
        return {letter["id"]: f"{letter['reason']}: {letter['error']}" for letter in self.stream.dead}


def eager(consumer: Consumer) -> Consumer:
    """Make a consumer read everything at once, as if it had handled many events."""
    consumer._pace.size = 1_000
    return consumer


@contextmanager
def running_world() -> Iterator[ConsumerWorld]:
    """Run consumers on a fake clock; stop those that are left, and check that no timer is left."""
    clock = StrictClock()
    made = ConsumerWorld(clock, MemoryStream(clock))
    yield made
    for consumer in list(made.consumers):
        made.stop(consumer)
    made.run(60.0)
    assert clock.getDelayedCalls() == []
