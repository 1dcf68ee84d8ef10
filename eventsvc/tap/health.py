"""
The liveness and readiness of a process, and the port that reports them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from eventsvc import __version__
from eventsvc.consumer.service import Consumer
from eventsvc.interfaces import Refused, Unknown
from eventsvc.producer.appender import Appender
from eventsvc.redis.connection import Connection
from eventsvc.settings import AdminSettings
from eventsvc.tap.options import name_settings
from eventsvc.tap.process import Listener
from eventsvc.telemetry.logs import standard_output
from eventsvc.telemetry.metrics import Figure, Metrics
from eventsvc.web.admin import make_admin_site
from eventsvc.web.health import Health

#: Seconds between two beats, and without one, after which a process is dead.
BEAT: Final = 1.0
_DEAD: Final = 10.0


@attrs.define(eq=False, slots=False)
class Vitals(Service):
    """
    The heart of a process: it beats for as long as the reactor comes round.

    @ivar on_beat: called at each beat.
    @ivar late: seconds by which beats came late, in sum.
    """

    clock: IReactorTime
    metrics: Metrics = attrs.field(factory=Metrics)
    on_beat: list[Callable[[], object]] = attrs.field(factory=list)
    late: float = attrs.field(default=0.0, init=False)
    _last: float = attrs.field(default=0.0, init=False)
    _next: IDelayedCall | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics.add(
            [
                Figure(
                    "gauge",
                    "eventsvc_info",
                    "Always 1; the label says which version this is.",
                    lambda: {__version__: 1},
                    "version",
                ),
                Figure(
                    "counter",
                    "eventsvc_reactor_late_seconds",
                    "Seconds by which a timer of one second was late, in sum: something held up the reactor.",
                    lambda: self.late,
                ),
                Figure(
                    "counter",
                    "eventsvc_log_lines_dropped",
                    "Lines of the log that were dropped, because the output did not take them.",
                    lambda: standard_output().dropped,
                ),
            ]
        )

    @property
    def is_alive(self) -> bool:
        """Return whether there was a beat lately."""
        return self.clock.seconds() - self._last < _DEAD

    def startService(self) -> None:
        super().startService()
        self._last = self.clock.seconds()
        self._beat()

    def stopService(self) -> None:
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _beat(self) -> None:
        now = self.clock.seconds()
        self.late += max(0.0, now - self._last - BEAT)
        self._last = now
        self._next = self.clock.callLater(BEAT, self._beat)
        for call in self.on_beat:
            call()


def producer_health(vitals: Vitals, appender: Appender, connection: Connection) -> Health:
    """The health of a producer."""

    def not_ready() -> str:
        if not connection.ready:
            return "Redis cannot be reached"
        if appender.backlog.is_full:
            return "The queue of events that wait for Redis is full"
        return ""

    vitals.on_beat.append(lambda: probe(connection))
    return Health(
        is_live=lambda: vitals.is_alive and appender.is_running, not_ready=not_ready, metrics=vitals.metrics.text
    )


def probe(connection: Connection) -> None:
    """
    See whether Redis still answers and takes writes: if not, the connection ends itself.

    A connection that nobody uses would seem to be good for hours.
    """

    def expected(failure: Failure) -> None:
        failure.trap(Refused, Unknown)

    if connection.ready:
        connection.check().addErrback(expected)


@attrs.define(eq=False)
class Rounds:
    """
    Whether the loop of a consumer comes round.

    While Redis is away it need not: it waits for the connection.

    @ivar within: seconds a round may take.
    """

    consumer: Consumer
    connection: Connection
    clock: IReactorTime
    within: float
    _excused: float = attrs.field(default=0.0, init=False)

    def observe(self) -> None:
        """See whether there is an excuse; to be called at each beat."""
        if not self.connection.ready:
            self._excused = self.clock.seconds()

    @property
    def is_alive(self) -> bool:
        self.observe()
        return self.clock.seconds() - max(self.consumer.last_round, self._excused) < self.within


def consumer_health(vitals: Vitals, consumer: Consumer, connection: Connection) -> Health:
    """The health of a consumer."""
    # A round is a blocking read, then as much as is handled in half of the idle time.
    rounds = Rounds(consumer, connection, vitals.clock, consumer.block + consumer.claim_idle + _DEAD)
    vitals.on_beat.append(rounds.observe)
    return Health(
        is_live=lambda: vitals.is_alive and rounds.is_alive,
        not_ready=lambda: consumer.problem if connection.ready else "Redis cannot be reached",
        metrics=vitals.metrics.text,
    )


def simulator_health(vitals: Vitals) -> Health:
    """The health of a simulator: it has no work to be fit for."""
    return Health(is_live=lambda: vitals.is_alive, not_ready=lambda: "", metrics=vitals.metrics.text)


def add_admin(process: MultiService, reactor: Any, settings: AdminSettings, health: Health) -> None:
    """Serve health and figures on a port of their own, if there is to be one."""
    if settings.port:
        site = make_admin_site(health, reactor)
        Listener(reactor, settings.port, site, "", name_settings(AdminSettings, "port")).setServiceParent(process)
