"""
Decides liveness and readiness of a process, and serves them on the admin port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from eventsvc import __version__
from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.connection import Connection
from eventsvc.settings import AdminSettings
from eventsvc.tap.options import name_settings
from eventsvc.tap.process import Listener
from eventsvc.telemetry.lag import Lag
from eventsvc.telemetry.logs import standard_output
from eventsvc.telemetry.metrics import Figure, Metrics
from eventsvc.web.admin import make_admin_site
from eventsvc.web.backlog import GroupBacklog
from eventsvc.web.health import Health

if TYPE_CHECKING:
    from eventsvc.consumer.service import Consumer
    from eventsvc.producer.appender import Appender
    from eventsvc.producer.room import Room

#: Seconds between two beats, and seconds without a beat after which a process is not live.
BEAT: Final = 1.0
_DEAD: Final = 10.0


@attrs.define(eq=False, slots=False)
class Vitals(Service):
    """
    The heartbeat of a process: a timer that fires while the reactor runs.

    @ivar on_beat: called at each beat.
    @ivar late: the total delay of the beats, in seconds.
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
                    "Always 1; the label is the version.",
                    lambda: {__version__: 1},
                    "version",
                ),
                Figure(
                    "counter",
                    "eventsvc_reactor_late_seconds",
                    "Total delay of a one-second timer, in seconds: time in which something blocked the reactor.",
                    lambda: self.late,
                ),
                Figure(
                    "counter",
                    "eventsvc_log_lines_dropped",
                    "Log lines dropped because standard output did not accept them.",
                    lambda: standard_output().dropped,
                ),
            ]
        )

    @property
    def is_alive(self) -> bool:
        """Whether the last beat was recent."""
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


def producer_health(
    vitals: Vitals, appenders: Sequence[Appender], connection: Connection, room: Room, lags: Sequence[Lag] = ()
) -> Health:
    """
    Return the health of a producer.

    It is ready while one stream can take events: a full one refuses its own alone.
    It stays ready while Redis is full, because no other producer could do better,
    and only this one tells clients why.

    @param lags: how far the group is behind in each stream, that of the producer first.
    """

    def not_ready() -> str:
        if not connection.ready:
            return why_not_connected(connection)
        if not room.is_full and all(appender.backlog.is_full for appender in appenders):
            return "The queue of events that wait for Redis is full"
        return ""

    def backlog(stream: str) -> GroupBacklog | None:
        for lag in lags:
            if stream in ("", lag.stream):
                return tell_backlog(lag, connection)
        return None

    vitals.on_beat.append(lambda: probe(connection))
    return Health(
        is_live=lambda: vitals.is_alive and all(appender.is_running for appender in appenders),
        not_ready=not_ready,
        metrics=vitals.metrics.text,
        backlog=backlog,
    )


def tell_backlog(lag: Lag, connection: Connection) -> GroupBacklog:
    """Return how far a group is behind, or why that is not known now."""
    if not connection.ready:
        return GroupBacklog(lag.stream, lag.group, problem=why_not_connected(connection))
    measures = lag.latest()
    if measures is None:
        return GroupBacklog(lag.stream, lag.group, problem="Redis has not told lately how far the group is behind")
    return GroupBacklog(lag.stream, lag.group, measures)


def why_not_connected(connection: Connection) -> str:
    """Return why there is no connection, as far as it is known."""
    return f"Redis cannot be reached: {connection.problem}" if connection.problem else "Redis cannot be reached"


def probe(connection: Connection) -> None:
    """
    Check that Redis answers and accepts writes; otherwise the connection is aborted.

    Without this, a broken connection that is not used would seem fine for hours.
    """

    def expected(failure: Failure) -> None:
        failure.trap(Refused, Unknown)

    if connection.ready:
        connection.check().addErrback(expected)


@attrs.define(eq=False)
class Rounds:
    """
    Checks that the read loop of a consumer makes progress.

    While Redis cannot be reached it need not: it waits for the connection.

    @ivar within: seconds that one round of the loop may take.
    """

    consumer: Consumer
    connection: Connection
    clock: IReactorTime
    within: float
    _excused: float = attrs.field(default=0.0, init=False)

    def observe(self) -> None:
        """Record when Redis cannot be reached; call this at each beat."""
        if not self.connection.ready:
            self._excused = self.clock.seconds()

    @property
    def is_alive(self) -> bool:
        self.observe()
        return self.clock.seconds() - max(self.consumer.last_round, self._excused) < self.within


def consumer_health(vitals: Vitals, consumer: Consumer, connection: Connection) -> Health:
    """Return the health of a consumer."""
    # A round is a blocking read, then handling for at most half of the idle time.
    rounds = Rounds(consumer, connection, vitals.clock, consumer.block + consumer.claim_idle + _DEAD)
    vitals.on_beat.append(rounds.observe)
    return Health(
        is_live=lambda: vitals.is_alive and rounds.is_alive,
        not_ready=lambda: consumer.problem if connection.ready else why_not_connected(connection),
        metrics=vitals.metrics.text,
    )


def simulator_health(vitals: Vitals) -> Health:
    """Return the health of a simulator, which is always ready."""
    return Health(is_live=lambda: vitals.is_alive, not_ready=lambda: "", metrics=vitals.metrics.text)


def add_admin(process: MultiService, reactor: Any, settings: AdminSettings, health: Health) -> None:
    """Serve health and metrics on the admin port, if it is set."""
    if settings.port:
        site = make_admin_site(health, reactor)
        Listener(reactor, settings.port, site, "", name_settings(AdminSettings, "port")).setServiceParent(process)
