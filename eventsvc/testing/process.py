"""
A consumer in memory, as a process that may be killed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.in_flight import InFlight
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.interfaces import IEventGroup
from eventsvc.testing.clock_loop import ClockLoop
from eventsvc.testing.link import Link
from eventsvc.testing.records import RecordedHandler


def make_consumer(
    group: IEventGroup,
    handler: BoundHandler,
    clock: IReactorTime,
    max_len: int = 1_000,
    claim_idle: float = 30.0,
    drain_timeout: float = 10.0,
    **options: Any,
) -> Consumer:
    """
    Return a consumer on a clock, whose pauses have no jitter.

    @param options: those of L{InFlight}.
    """
    return Consumer(
        group=group,
        in_flight=InFlight(group=group, handler=handler, clock=clock, jitter=lambda: 0.5, **options),
        clock=clock,
        claim_idle=claim_idle,
        drain_timeout=drain_timeout,
        chores=[Retention(group, clock, max_len).chore],
    )


@attrs.frozen(eq=False)
class Process:
    """A consumer that may be killed, and what it runs on."""

    consumer: Consumer
    handler: RecordedHandler
    link: Link
    loop: ClockLoop | None
    _stopping: list[Deferred[None]] = attrs.field(factory=list, init=False)

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop, and has."""
        return any(stopping.called for stopping in self._stopping)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call something as the reactor would."""
        if self.loop is None:
            function(*arguments)
        else:
            self.loop.run(function, *arguments)

    def stop(self) -> None:
        """Begin to stop."""
        if not self._stopping:
            self._stopping.append(self.consumer.stopService())

    def kill(self) -> None:
        """Do nothing any more."""
        self.handler.killed = True
        self.link.abandon()
        if self.loop is not None:
            self.loop.kill()

    def end(self) -> None:
        """Free what it holds."""
        if self.loop is None:
            self.consumer.in_flight.cancel()
        else:
            self.loop.end()
