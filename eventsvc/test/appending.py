"""
An appender on a clock, its log in memory, and what its clients were told.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

import attrs
from twisted.internet.task import Clock

from eventsvc.appender import Appender
from eventsvc.backlog import Limits
from eventsvc.event import Event, decode_notification
from eventsvc.interfaces import IdempotencyKey
from eventsvc.test.clocks import run_clock
from eventsvc.testing import Fate, Link, MemoryEventLog, MemoryStream


def key(name: str, body: str = "body") -> IdempotencyKey:
    """A key as the edge makes it, but readable."""
    return IdempotencyKey(name.encode().ljust(16), body.encode().ljust(16))


@attrs.define
class World:
    """An appender, its log, and what its clients were told."""

    clock: Clock
    stream: MemoryStream
    link: Link
    appender: Appender
    told: dict[str, Any] = attrs.field(factory=dict)

    def post(self, *descriptions: str, key: IdempotencyKey | None = None) -> Any:
        """Post events together; the answer is kept under the first one's name."""
        answering = self.appender.append([Event(text) for text in descriptions], key)
        answering.addBoth(self._keep, descriptions[0])
        return answering

    def _keep(self, result: Any, name: str) -> None:
        self.told[name] = getattr(result, "value", result)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        run_clock(self.clock, seconds)

    def turn(self) -> None:
        """Let one turn of the reactor pass: what was posted goes out."""
        self.clock.advance(0)

    def stored(self) -> list[str]:
        """The descriptions in the stream."""
        return [decode_notification(data).description for data in self.stream.payloads()]


def make_world(fates: Iterable[Fate] = (), hard_max: int = 1_000_000, **limits: Any) -> World:
    """A started appender on a clock."""
    clock = Clock()
    stream = MemoryStream(clock, hard_max)
    link = Link(clock, iter(fates))
    ids, lanes = count(1), count(1)
    appender = Appender(
        log=MemoryEventLog(stream, link),
        clock=clock,
        new_id=lambda: next(ids),
        new_lane=lambda: b"lane %d" % next(lanes),
        wall_clock=lambda: 1_700_000_000_000_000_000,
        limits=Limits(**limits),
    )
    appender.start()
    return World(clock, stream, link, appender)
