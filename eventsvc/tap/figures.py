"""
Defines the metrics of each role, and how each is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eventsvc.interfaces import Measures, Refused
from eventsvc.memory import Memory
from eventsvc.redis.connection import Connection
from eventsvc.telemetry.lag import Lag
from eventsvc.telemetry.metrics import Figure, Reading

if TYPE_CHECKING:
    from eventsvc.consumer.name_hold import NameHold
    from eventsvc.consumer.retention import Retention
    from eventsvc.consumer.service import Consumer
    from eventsvc.handlers.webhook import Webhook
    from eventsvc.simulator.service import Simulator


def connection_figures(connection: Connection, role: str) -> list[Figure]:
    """Return the metrics of a role's connection to Redis."""
    return [
        Figure(
            "gauge",
            "eventsvc_redis_connected",
            "1 if the connection to Redis is ready for use, else 0.",
            lambda: {role: float(connection.ready)},
            "role",
        ),
        Figure(
            "counter",
            "eventsvc_redis_reconnects",
            "Connections to Redis made after the first one.",
            lambda: {role: max(0, connection.connects - 1)},
            "role",
        ),
    ]


def memory_figures(connection: Connection, latest: Callable[[], Memory], role: str) -> list[Figure]:
    """
    Return the metrics of the memory of Redis, as a role last saw it.

    They are without samples if Redis does not tell, and while it is away: another server may take its place.
    """

    def known(size: int) -> Reading:
        return {role: size} if size and connection.ready else {}

    return [
        Figure(
            "gauge",
            "eventsvc_redis_memory_bytes",
            "Memory of Redis in use, as far as it counts against its maxmemory, in bytes.",
            lambda: known(latest().used),
            "role",
        ),
        Figure(
            "gauge",
            "eventsvc_redis_memory_max_bytes",
            "The maxmemory of Redis, in bytes; absent if there is none.",
            lambda: known(latest().limit),
            "role",
        ),
    ]


def consumer_figures(consumer: Consumer, retention: Retention, lag: Lag, hold: NameHold) -> list[Figure]:
    """Return the metrics of a consumer."""
    in_flight = consumer.in_flight
    counts = in_flight.counts

    return [
        Figure(
            "counter",
            "eventsvc_consumed",
            "Entries finished, by outcome: handled, or passed_over if they are not events.",
            lambda: {"handled": counts.handled, "passed_over": counts.passed_over},
            "outcome",
        ),
        Figure("counter", "eventsvc_handler_failures", "Deliveries that failed.", lambda: counts.failed),
        Figure(
            "counter",
            "eventsvc_handler_timeouts",
            "Calls of the handler that took too long and were cancelled.",
            lambda: counts.timed_out,
        ),
        Figure(
            "histogram",
            "eventsvc_handler_seconds",
            "Seconds that the handler took for an event or a batch; plain calls in a row count as one.",
            lambda: counts.handler_seconds,
        ),
        Figure(
            "histogram",
            "eventsvc_deliveries",
            "Deliveries of each event that was handled.",
            lambda: counts.deliveries,
        ),
        Figure(
            "histogram",
            "eventsvc_event_age_seconds",
            "Seconds from when Redis stored an event until it was handled, of a sample of the events.",
            lambda: counts.ages,
        ),
        Figure(
            "gauge",
            "eventsvc_handler_failing",
            "1 while the consumer pauses because several different events failed in a row, else 0.",
            lambda: float(in_flight.breaker.is_open),
        ),
        Figure(
            "counter",
            "eventsvc_handler_trips",
            "Times the consumer began to pause because several different events failed in a row.",
            lambda: in_flight.breaker.trips,
        ),
        Figure(
            "counter",
            "eventsvc_redelivered",
            "Times an event was given to the handler again.",
            lambda: counts.redelivered,
        ),
        Figure("counter", "eventsvc_dead_lettered", "Entries set aside as dead letters.", lambda: counts.dead),
        Figure(
            "counter",
            "eventsvc_set_aside_refused",
            "Failed attempts to set an entry aside.",
            lambda: in_flight.aside.refused,
        ),
        Figure(
            "gauge",
            "eventsvc_waiting_to_be_set_aside",
            "Entries that could not be set aside yet; other entries are handled meanwhile.",
            lambda: len(in_flight.aside),
        ),
        Figure(
            "counter", "eventsvc_claimed", "Entries claimed from other consumers.", lambda: consumer.recovery.claimed
        ),
        Figure(
            "counter",
            "eventsvc_groups_recreated",
            "Times the group was missing and was created again: events may be lost.",
            lambda: consumer.groups_recreated,
        ),
        Figure(
            "counter",
            "eventsvc_trimmed_pending",
            "Entries that another program trimmed before they were acknowledged: they are lost.",
            lambda: consumer.recovery.trimmed,
        ),
        Figure(
            "counter",
            "eventsvc_trimmed",
            "Acknowledged entries removed to limit the length of the stream.",
            lambda: retention.trimmed,
        ),
        Figure(
            "counter",
            "eventsvc_consumer_refused",
            "Reads and background tasks that Redis refused or did not answer, by reason.",
            lambda: dict.fromkeys(("unknown", Refused.reason), 0) | consumer.refused,
            "reason",
        ),
        Figure(
            "gauge",
            "eventsvc_consumer_ready",
            "1 if the last read of the stream succeeded, else 0.",
            lambda: float(not consumer.problem),
        ),
        Figure(
            "gauge",
            "eventsvc_consumer_name_in_use",
            "1 if another process uses this consumer's name, so that events are handled twice, else 0.",
            lambda: float(hold.in_use),
        ),
        Figure("gauge", "eventsvc_in_flight", "Entries read and not yet finished.", lambda: len(in_flight.entries)),
        Figure(
            "gauge",
            "eventsvc_dead_letters",
            "Dead letters in Redis.",
            lambda: None if (measures := lag.latest()) is None else measures.dead,
        ),
        *lag_figures([lag]),
    ]


def lag_figures(lags: Sequence[Lag]) -> list[Figure]:
    """Return the metrics of how far groups are behind; one that is not known now is left out."""

    def measured(read: Callable[[Measures], float | None]) -> Callable[[], Reading]:
        def latest() -> Reading:
            found = {(lag.stream, lag.group): read(lag.latest() or Measures()) for lag in lags}
            return {labels: number for labels, number in found.items() if number is not None}

        return latest

    labels = ("stream", "group")
    return [
        Figure(
            "gauge",
            "eventsvc_stream_entries",
            "Entries in the stream.",
            measured(lambda measures: measures.length),
            labels,
        ),
        Figure(
            "gauge",
            "eventsvc_pending_entries",
            "Entries delivered to a consumer of the group and not acknowledged.",
            measured(lambda measures: measures.pending),
            labels,
        ),
        Figure(
            "gauge",
            "eventsvc_oldest_unread_seconds",
            "Age of the oldest entry not delivered to the group, in seconds.",
            measured(lambda measures: measures.unread_age),
            labels,
        ),
        Figure(
            "gauge",
            "eventsvc_oldest_pending_seconds",
            "Age of the oldest entry delivered and not acknowledged, in seconds.",
            measured(lambda measures: measures.pending_age),
            labels,
        ),
    ]


def simulator_figures(simulator: Simulator) -> list[Figure]:
    """Return the metrics of a simulator."""
    tally = simulator.tally
    return [
        Figure(
            "counter",
            "eventsvc_simulated",
            "Events by outcome; dropped: not posted, because too many requests were in flight.",
            lambda: {outcome.value: count for outcome, count in tally.outcomes.items()} | {"dropped": tally.dropped},
            "outcome",
        ),
        Figure("gauge", "eventsvc_requests_in_flight", "Requests in flight.", lambda: simulator.in_flight),
    ]


def webhook_figures(webhook: Webhook) -> list[Figure]:
    """The figures of the handler C{webhook}."""
    return [
        Figure(
            "gauge",
            "eventsvc_webhook_gone",
            "1 while the receiver of webhooks answers 410, else 0.",
            lambda: float(webhook.gone),
        ),
    ]
