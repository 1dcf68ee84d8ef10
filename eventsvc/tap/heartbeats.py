"""
Leaves the heartbeat of each role in Redis, for dashboards and C{eventsvc status}.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from eventsvc import __version__
from eventsvc.errors import Refused, Unknown
from eventsvc.heartbeat import Heartbeat, Spread
from eventsvc.redis.processes import Processes
from eventsvc.tap.health import BEAT, Vitals
from eventsvc.web.health import Health

if TYPE_CHECKING:
    from eventsvc.consumer.service import Consumer
    from eventsvc.producer.appender import Appender

#: Seconds between two heartbeats.
EVERY: Final = 2.0
#: Seconds for which the end of a process waits until its heartbeat is removed.
_PATIENCE: Final = 0.5

#: What a role says of itself: its figures, and its distributions.
Figures = tuple[Mapping[str, float], Mapping[str, Spread]]


@attrs.frozen
class Identity:
    """What does not change while a process runs; as in L{Heartbeat}."""

    role: str
    name: str
    group: str = ""
    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    host: str = attrs.field(factory=socket.gethostname)
    pid: int = attrs.field(factory=os.getpid)
    started: float = attrs.field(factory=time.time)


@attrs.define(eq=False, slots=False)
class Heartbeats(Service):
    """
    Leaves the heartbeat of a role every two seconds while Redis can be reached, and removes it at the end.

    @ivar figures: returns what the role says of itself now.
    """

    processes: Processes
    identity: Identity
    health: Health
    figures: Callable[[], Figures]
    clock: IReactorTime
    _began: float = attrs.field(default=0.0, init=False)
    _due: float = attrs.field(default=0.0, init=False)
    _asking: bool = attrs.field(default=False, init=False)

    def startService(self) -> None:
        super().startService()
        self._began = self._due = self.clock.seconds()

    def beat(self) -> None:
        """Leave a heartbeat if it is due; call this at each beat of L{Vitals}."""
        if not self.running or self._asking or not self.processes.connection.ready or self.clock.seconds() < self._due:
            return
        self._asking = True
        self._due = self.clock.seconds() + EVERY - BEAT / 2  # no beat comes early
        self.processes.beat(self.make()).addErrback(_not_now).addBoth(self._asked)

    def _asked(self, _: object) -> None:
        self._asking = False

    def make(self) -> Heartbeat:
        """Return the heartbeat of this moment."""
        figures, spreads = self.figures()
        fixed = attrs.asdict(self.identity)
        return Heartbeat(
            **fixed,
            version=__version__,
            uptime=self.clock.seconds() - self._began,
            problem=self.health.not_ready() if self.health.is_live() else "it makes no progress",
            figures={**figures, "cpu_seconds": time.process_time()},
            spreads=dict(spreads),
        )

    def stopService(self) -> Deferred[None]:
        """Remove the heartbeat; wait for that, but not for long."""
        super().stopService()
        stopped: Deferred[None] = Deferred()
        late = self.clock.callLater(_PATIENCE, stopped.callback, None)

        def left(_: object) -> None:
            if late.active():
                late.cancel()
                stopped.callback(None)

        self.processes.leave(self.identity.id).addErrback(_not_now).addBoth(left)
        return stopped


def _not_now(failure: Failure) -> None:
    failure.trap(Refused, Unknown)


def add_heartbeats(
    process: MultiService,
    vitals: Vitals,
    processes: Processes,
    identity: Identity,
    health: Health,
    figures: Callable[[], Figures],
) -> None:
    """Have a role leave heartbeats; call this after its connection was put into the process."""
    heartbeats = Heartbeats(processes, identity, health, figures, vitals.clock)
    heartbeats.setServiceParent(process)
    vitals.on_beat.append(heartbeats.beat)


def producer_says(appender: Appender) -> Figures:
    """Return what a producer says of one of its streams."""
    counts = appender.counts
    return (
        {
            "accepted": counts.accepted,
            "repeated": counts.repeated,
            "refused": sum(counts.refused.values()),
            "unknown": counts.unknown,
            "appended": counts.appended,
            "queue": appender.backlog.events,
            "restored": counts.restored,
            "lost": counts.lost_events,
        },
        {"append": Spread.of(counts.append_seconds), "wait": Spread.of(counts.wait_seconds)},
    )


def consumer_says(consumer: Consumer) -> Figures:
    """Return what a consumer says of itself."""
    in_flight = consumer.in_flight
    counts = in_flight.counts
    return (
        {
            "handled": counts.handled,
            "failed": counts.failed,
            "redelivered": counts.redelivered,
            "passed_over": counts.passed_over,
            "dead": counts.dead,
            "in_flight": len(in_flight.entries),
            "pausing": float(in_flight.breaker.is_open),
        },
        {"handler": Spread.of(counts.handler_seconds), "age": Spread.of(counts.ages)},
    )
