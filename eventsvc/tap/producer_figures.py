"""
Defines the metrics of a producer, and how each is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventsvc.errors import RedisFull
from eventsvc.histogram import Histogram
from eventsvc.interfaces import KeysFull, QueueFull, Refused, StreamFull
from eventsvc.net.server_certificates import ServerCertificates
from eventsvc.producer.appender import Appender
from eventsvc.producer.room import Room
from eventsvc.redis.durability import Durability
from eventsvc.telemetry.metrics import Figure, Reading

_REASONS = dict.fromkeys((Refused.reason, RedisFull.reason, QueueFull.reason, StreamFull.reason, KeysFull.reason), 0)


def producer_figures(appenders: Mapping[str, Appender]) -> list[Figure]:
    """Return the metrics of a producer, by stream; one that is not known yet is left out."""

    def by_stream(read: Callable[[Appender], float | Histogram | None]) -> Callable[[], Reading]:
        return lambda: {
            (stream,): value for stream, appender in appenders.items() if (value := read(appender)) is not None
        }

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
            "eventsvc_restored",
            "Events that Redis had confirmed and lost, and that are stored again.",
            by_stream(lambda each: each.counts.restored),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_lost",
            "Times Redis had lost confirmed events that were not retained.",
            by_stream(lambda each: each.counts.lost),
            "stream",
        ),
        Figure(
            "counter",
            "eventsvc_lost_events",
            "Events that Redis had confirmed and lost, and that were not retained.",
            by_stream(lambda each: each.counts.lost_events),
            "stream",
        ),
        Figure(
            "gauge",
            "eventsvc_retained_seconds",
            "Seconds: what Redis confirmed since then can be stored again if Redis loses it.",
            by_stream(lambda each: each.retained.reach),
            "stream",
        ),
        Figure(
            "gauge",
            "eventsvc_retained_bytes",
            "Memory of the confirmed events that are retained, in bytes.",
            by_stream(lambda each: each.retained.size),
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


def room_figures(room: Room) -> list[Figure]:
    """Return the metrics of the room that Redis has for new events."""
    return [
        Figure(
            "gauge",
            "eventsvc_redis_full",
            "1 while Redis refuses new events because its memory is full, else 0.",
            lambda: float(room.is_full),
        ),
        Figure(
            "counter",
            "eventsvc_trimmed_by_producer",
            "Acknowledged entries removed by this producer because the memory of Redis was short.",
            lambda: room.trimmed,
        ),
    ]


def durability_figures(durability: Durability) -> list[Figure]:
    """Return the metrics of a producer whose events reach more than the memory of the primary."""
    return [
        Figure(
            "histogram",
            "eventsvc_durability_seconds",
            "Seconds that each batch waited for the disk or the replicas of Redis, once it was stored.",
            lambda: durability.seconds,
        )
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
