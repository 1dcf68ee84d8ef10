"""
Defines the metrics of each role, and how each is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventsvc.consumer.lag import Lag
from eventsvc.consumer.name_hold import NameHold
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.handlers.webhook import Webhook
from eventsvc.histogram import Histogram
from eventsvc.interfaces import KeysFull, Measures, QueueFull, Refused, StreamFull
from eventsvc.net.server_certificates import ServerCertificates
from eventsvc.producer.appender import Appender
from eventsvc.redis.connection import Connection
from eventsvc.simulator.service import Simulator
from eventsvc.telemetry.metrics import Figure, Reading

_REASONS = dict.fromkeys((Refused.reason, QueueFull.reason, StreamFull.reason, KeysFull.reason), 0)


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


def producer_figures(appenders: Mapping[str, Appender]) -> list[Figure]:
    """Return the metrics of a producer, by stream."""

    def by_stream(read: Callable[[Appender], float | Histogram]) -> Callable[[], Reading]:
        return lambda: {(stream,): read(appender) for stream, appender in appenders.items()}

    def refused() -> Reading:
        return {
            (stream, reason): number
            for stream, appender in appenders.items()
            for reason, number in (_REASONS | appender.counts.refused).items()
        }

    return [
        Figure(
            "counter",
            "eventsvc_events_refused",
            'Events answered 503 with "stored": "no", by reason.',
            refused,
            ("stream", "reason"),
        ),
        Figure(
            "counter",
            "eventsvc_events_accepted",
            "Events answered 200 because Redis confirmed them.",
            by_stream(lambda each: each.counts.accepted),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_events_repeated",
            "Events answered 200 with the ids of an earlier request of the same Idempotency-Key.",
            by_stream(lambda each: each.counts.repeated),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_events_unknown",
            'Events answered 503 with "stored": "unknown".',
            by_stream(lambda each: each.counts.unknown),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_events_appended",
            "Events that Redis confirmed, whether or not the client was still connected to get the answer.",
            by_stream(lambda each: each.counts.appended),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_batches",
            "Batches that Redis answered.",
            by_stream(lambda each: each.counts.batches),
            "stream",
        ),
        Figure(
            "histogram",
            "eventsvc_batch_events",
            "Events in each batch that Redis answered.",
            by_stream(lambda each: each.counts.batch_events),
            "stream",
        ),
        Figure(
            "histogram",
            "eventsvc_append_seconds",
            "Seconds from the first attempt of a batch until Redis answered, outages included.",
            by_stream(lambda each: each.counts.append_seconds),
            "stream",
        ),
        Figure(
            "histogram",
            "eventsvc_wait_seconds",
            "Seconds from the arrival of the oldest request in each batch to its answer.",
            by_stream(lambda each: each.counts.wait_seconds),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_duplicates_resolved",
            "Batches whose answer was lost, and which a later attempt found in the stream.",
            by_stream(lambda each: each.counts.duplicates_resolved),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_lost",
            "Times Redis no longer knew a batch that it had confirmed: acknowledged events may be lost.",
            by_stream(lambda each: each.counts.lost),
            "stream",
        ),
        Figure(
            "gauge",
            "eventsvc_queue_events",
            "Events waiting for Redis.",
            by_stream(lambda each: each.backlog.events),
            "stream",
        ),
        Figure(
            "gauge",
            "eventsvc_queue_bytes",
            "Bytes of events waiting for Redis.",
            by_stream(lambda each: each.backlog.size),
            "stream",
        ),
        Figure(
            "gauge",
            "eventsvc_idempotency_keys",
            "Idempotency-Keys in Redis at the last check.",
            by_stream(lambda each: each.known_keys),
            "stream",
        ),
    ]


def tls_figures(certificates: ServerCertificates) -> list[Figure]:
    """Return the metrics of a TLS port."""
    return [
        Figure(
            "gauge",
            "eventsvc_tls_certificate_expires_seconds",
            "Time when the certificate of the port expires, in seconds since 1970.",
            lambda: certificates.expires,
        ),
        Figure(
            "counter",
            "eventsvc_tls_reload_failures",
            "Changes of the TLS files that were not valid, so that the old ones stayed in use.",
            lambda: certificates.failures,
        ),
    ]


def consumer_figures(consumer: Consumer, retention: Retention, lag: Lag, hold: NameHold) -> list[Figure]:
    """Return the metrics of a consumer."""
    in_flight = consumer.in_flight
    counts = in_flight.counts

    def measured(read: Callable[[Measures], float]) -> Callable[[], float | None]:
        def latest() -> float | None:
            measures = lag.latest()
            return None if measures is None else read(measures)

        return latest

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
            "gauge", "eventsvc_stream_entries", "Entries in the stream.", measured(lambda measures: measures.length)
        ),
        Figure("gauge", "eventsvc_dead_letters", "Dead letters in Redis.", measured(lambda measures: measures.dead)),
        Figure(
            "gauge",
            "eventsvc_pending_entries",
            "Entries delivered to a consumer of the group and not acknowledged.",
            measured(lambda measures: measures.pending),
        ),
        Figure(
            "gauge",
            "eventsvc_oldest_unread_seconds",
            "Age of the oldest entry not delivered to the group, in seconds.",
            measured(lambda measures: measures.unread_age),
        ),
        Figure(
            "gauge",
            "eventsvc_oldest_pending_seconds",
            "Age of the oldest entry delivered and not acknowledged, in seconds.",
            measured(lambda measures: measures.pending_age),
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
