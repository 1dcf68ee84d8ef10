"""
An appender on a fake clock, with its log in memory and the answers to its clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, Final

import attrs
from twisted.internet.task import Clock

from eventsvc.event import Event, decode_notification
from eventsvc.interfaces import Refused
from eventsvc.outcome import Outcome
from eventsvc.producer.appender import Appender
from eventsvc.producer.backlog import Limits
from eventsvc.producer.retained import Retained
from eventsvc.submission import IdempotencyKey
from eventsvc.testing import Fate, Link, MemoryEventLog, MemoryStream
from eventsvc.testing.clock import run_clock
from eventsvc.testing.history import Expectations, History, Op, Verdict, check

#: Seconds after which a session gives up a connection that is silent.
_SILENCE: Final = 2.0


def key(name: str, body: str = "body") -> IdempotencyKey:
    """Return a key like those of the HTTP interface, but readable."""
    return IdempotencyKey(name.encode().ljust(16), body.encode().ljust(16))


@attrs.define
class ProducerWorld:
    """An appender, its log, and the answers to its clients."""

    clock: Clock
    stream: MemoryStream
    link: Link
    appender: Appender
    told: dict[str, Any] = attrs.field(factory=dict)

    def post(self, *descriptions: str, key: IdempotencyKey | None = None) -> Any:
        """Post events together, and record the answer under the name of the first."""
        answering = self.appender.append([Event(text) for text in descriptions], (key,) if key else ())
        answering.addBoth(self._keep, descriptions[0])
        return answering

    def post_again_and_again(self, name: str, times: int) -> None:
        """Post an event and, from inside its answer, the next one, that many times."""
        answering = self.post(f"{name}{times}")
        if times > 1:
            answering.addCallback(lambda _: self.post_again_and_again(name, times - 1))

    def _keep(self, result: Any, name: str) -> None:
        self.told[name] = getattr(result, "value", result)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        run_clock(self.clock, seconds)

    def live(self, seconds: float) -> None:
        """Advance the clock, and end connections that are silent for too long."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            silent = self.link.silent
            self.run(min(_SILENCE, end - self.clock.seconds()))
            if silent and self.link.silent and self.link.connected:
                self.link.cut()

    def turn(self) -> None:
        """Run one turn of the reactor, so that posted events go out."""
        self.clock.advance(0)

    def stored(self) -> list[str]:
        """Return the descriptions in the stream."""
        return [decode_notification(data).description for data in self.stream.payloads()]


def make_world(
    fates: Iterable[Fate] = (),
    hard_max: int = 1_000_000,
    clock: Clock | None = None,
    retain: tuple[float, int] = (1e9, 1 << 30),
    **limits: Any,
) -> ProducerWorld:
    """
    Return a started appender on a fake clock, perhaps one that others use too.

    @param retain: seconds and bytes for which it retains what is confirmed.
    """
    clock = clock or Clock()
    stream = MemoryStream(clock, hard_max)
    link = Link(clock, iter(fates), backend=stream)
    ids, producer_ids = count(1), count(1)
    appender = Appender(
        event_log=MemoryEventLog(stream, link),
        clock=clock,
        new_id=lambda: next(ids),
        new_producer_id=lambda: b"producer %d" % next(producer_ids),
        wall_clock=lambda: 1_700_000_000_000_000_000,
        limits=Limits(**limits),
        retained=Retained(clock, *retain),
    )
    appender.start()
    return ProducerWorld(clock, stream, link, appender)


def judge(world: ProducerWorld) -> Verdict:
    """Check all answers, and that no loss was alarmed, and return the verdict."""
    ops = []
    for number, (text, told) in enumerate(world.told.items()):
        outcome = Outcome.OK
        if isinstance(told, Exception):
            outcome = Outcome.REFUSED if isinstance(told, Refused) else Outcome.UNKNOWN
        id = told[0] if outcome is Outcome.OK else None
        ops.append(Op(client="one", number=number, description=text, invoked=0.0, ended=1.0, outcome=outcome, id=id))
    stream = [decode_notification(data) for data in world.stream.payloads()]
    history = History(ops=ops, stream=stream, alarms=world.appender.counts.lost)
    return check(history, Expectations(least_ok=0))
