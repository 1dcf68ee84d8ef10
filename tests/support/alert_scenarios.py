"""
What can be wrong with a release, and what is not, as figures of Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from tests.support.alert_figures import (
    BACKLOG,
    SAMPLES,
    during,
    healthy,
    pod,
    scraped,
    series,
    since,
    since_event,
    steady,
    without,
)
from tests.support.alerts import Figures


@attrs.frozen
class Scenario:
    """The alerts that must fire in the end, and the figures."""

    alerts: set[str]
    figures: Figures
    #: Whether KEDA may end the last consumer.
    on_demand: bool = False


def firing(prefix: str = "") -> dict[str, Scenario]:
    """Return what can be wrong with a release whose names have a prefix."""
    well = healthy(prefix)

    def producer(name: str, number: int = 1, /, **labels: str) -> str:
        return scraped("producer", name, number, prefix, **labels)

    def consumer(name: str, **labels: str) -> str:
        return scraped("consumer", name, 1, prefix, **labels)

    def refused(reason: str) -> str:
        return producer("eventsvc_events_refused_total", stream="Orders", reason=reason)

    def container(name: str, role: str, **labels: str) -> str:
        return series(name, pod=pod(role, 1, prefix), container=role, **labels)

    def volume(name: str) -> str:
        return series(f"kubelet_volume_stats_{name}_bytes", persistentvolumeclaim=f"data-{prefix}redis-master-0")

    producers, consumers = f'job="{prefix}event-producer-metrics"', f'job="{prefix}event-consumer-metrics"'
    restarts = "kube_pod_container_status_restarts_total"
    unread = {producer("eventsvc_oldest_unread_seconds", **BACKLOG): steady(90)}
    pending = {producer("eventsvc_oldest_pending_seconds", **BACKLOG): steady(90)}
    ready = "kube_statefulset_status_replicas_ready"

    def with_one(alert: str, name: str, values: str) -> Scenario:
        return Scenario({alert}, {**well, name: values})

    return {
        "nothing is scraped": Scenario({"NoProducer", "NoConsumer"}, without(well, "job=")),
        "no producer is there": Scenario({"NoProducer"}, without(well, producers)),
        "all producers are down": Scenario(
            {"NoProducer", "APodGivesNoFigures"},
            {**without(well, producers), producer("up"): steady(0), producer("up", 2): steady(0)},
        ),
        "one producer is down": with_one("APodGivesNoFigures", producer("up", 2), since(20, 0, "1")),
        "Redis is slow": with_one("EventsAreRefused", refused("queue_full"), "0+15x120"),
        "Redis is away for clients": with_one("EventsAreRefused", refused("redis_away"), "0+15x120"),
        "a reason of the future": with_one("EventsAreRefused", refused("something_new"), "0+15x120"),
        "the stream is full": with_one("NoRoomForEvents", refused("stream_full"), since(28, 1)),
        "the keys are full": with_one("NoRoomForEvents", refused("keys_full"), since(28, 1)),
        "Redis is full": Scenario(
            {"RedisIsFull", "RedisIsNearlyFull"},
            {
                **well,
                refused("redis_full"): "0+15x120",
                producer("eventsvc_redis_full"): since(20, 1),
                producer("eventsvc_redis_memory_bytes", role="producer"): since(20, 100, "80"),
            },
        ),
        "Redis is nearly full": with_one(
            "RedisIsNearlyFull", consumer("eventsvc_redis_memory_bytes", role="consumer"), since(20, 95, "80")
        ),
        "events are large": with_one(
            "LittleIsRetained", producer("eventsvc_retained_seconds", stream="Orders"), since(15, 2, "30")
        ),
        "a replica hangs": with_one(
            "EventsAreUnconfirmed", producer("eventsvc_events_unknown_total", stream="Orders"), "0+15x120"
        ),
        "Redis lost events": with_one(
            "EventsMayBeLost", producer("eventsvc_lost_total", stream="Orders"), since(25, 1)
        ),
        "Redis lost events that were retained": with_one(
            "EventsWereRestored", producer("eventsvc_restored_total", stream="Orders"), since(25, 7)
        ),
        "many keys": with_one(
            "ManyIdempotencyKeys", producer("eventsvc_idempotency_keys", stream="Orders"), steady(950_000)
        ),
        "the tokens are wrong": with_one("TokensAreStale", producer("eventsvc_tokens_stale"), since(28, 1)),
        "a certificate is wrong": with_one(
            "ACertificateIsRefused", producer("eventsvc_tls_reload_failures_total"), since(25, 1)
        ),
        "a certificate is old": with_one(
            "ACertificateExpires", producer("eventsvc_tls_certificate_expires_seconds"), steady(600_000)
        ),
        "no consumer is there": Scenario({"NoConsumer"}, without(well, consumers)),
        "the consumer hangs": Scenario(
            {"NoConsumer", "APodGivesNoFigures"}, {**without(well, consumers), consumer("up"): steady(0)}
        ),
        "events are unread, and KEDA starts nothing": Scenario(
            {"NoConsumerForABacklog", "ConsumersAreBehind"}, {**without(well, consumers), **unread}, True
        ),
        "events are pending, and KEDA starts nothing": Scenario(
            {"NoConsumerForABacklog"}, {**without(well, consumers), **pending}, True
        ),
        "the consumer is slow": with_one(
            "ConsumersAreBehind", consumer("eventsvc_oldest_unread_seconds", **BACKLOG), since(25, 100)
        ),
        "events wait while no consumer is there": Scenario(
            {"NoConsumer", "ConsumersAreBehind"}, {**without(well, consumers), **unread}
        ),
        "a handler never ends": with_one(
            "AnEventIsStuck", consumer("eventsvc_oldest_pending_seconds", **BACKLOG), since_event(15)
        ),
        "a consumer died with an event, and none came after it": Scenario(
            {"NoConsumer", "AnEventIsStuck"},
            {
                **without(well, consumers),
                producer("eventsvc_oldest_pending_seconds", **BACKLOG): since_event(0),
            },
        ),
        "Redis refuses reads": with_one("AConsumerIsNotReady", consumer("eventsvc_consumer_ready"), since(25, 0, "1")),
        "a database is away": with_one("AHandlerIsFailing", consumer("eventsvc_handler_failing"), since(28, 1)),
        "the receiver is gone": with_one("AWebhookReceiverIsGone", consumer("eventsvc_webhook_gone"), since(29, 1)),
        "a name is in use": with_one("AConsumerNameIsInUse", consumer("eventsvc_consumer_name_in_use"), since(29, 1)),
        "the group was deleted": with_one(
            "GroupWasRecreated", consumer("eventsvc_groups_recreated_total"), since(25, 1)
        ),
        "somebody trims": with_one(
            "PendingEventsWereTrimmed", consumer("eventsvc_trimmed_pending_total"), since(25, 9)
        ),
        "an event is set aside": with_one("DeadLetters", consumer("eventsvc_dead_letters"), since(25, 1)),
        "every event is set aside": Scenario(
            {"DeadLetters", "ManyDeadLetters"}, {**well, consumer("eventsvc_dead_letters"): steady(10_001)}
        ),
        "a pod is cut off from Redis": with_one(
            "RedisIsAway", producer("eventsvc_redis_connected", role="producer"), since(25, 0, "1")
        ),
        "Redis ends with each write": with_one(
            "RedisIsAway", consumer("eventsvc_redis_connected", role="consumer"), "1x60" + " 0 0 1" * 20
        ),
        "Redis is away": Scenario(
            {"RedisIsAway", "RedisPodsAreMissing"},
            {
                **well,
                **{name: since(20, 0, "1") for name in well if "redis_connected" in name},
                consumer("eventsvc_consumer_ready"): since(20, 0, "1"),
                series(ready, statefulset=f"{prefix}redis-master"): since(20, 0, "3"),
            },
        ),
        "one of three pods of Redis is away": with_one(
            "RedisPodsAreMissing", series(ready, statefulset=f"{prefix}redis-master"), since(20, 2, "3")
        ),
        "the volume fills up": with_one("RedisVolumeFillsUp", volume("available"), since(20, 24, "60")),
        "the volume is full": Scenario(
            {"RedisVolumeFillsUp", "RedisVolumeIsNearlyFull"}, {**well, volume("available"): since(20, 1, "60")}
        ),
        "a producer is missing": with_one(
            "ReplicasAreMissing",
            series("kube_deployment_status_replicas_available", deployment=f"{prefix}event-producer"),
            since(15, 1, "2"),
        ),
        "an image cannot be pulled": with_one(
            "APodDoesNotStart",
            series("kube_pod_status_phase", pod=pod("producer", 3, prefix), phase="Pending"),
            since(20, 1, "_"),
        ),
        "a consumer crashes": with_one("APodRestartsAgainAndAgain", container(restarts, "consumer"), "0x60 0+1x3 4x60"),
        "Redis runs out of memory": Scenario(
            {"APodIsOutOfMemory"},
            {
                **well,
                container(restarts, "redis"): since(25, 2, "1"),
                container("kube_pod_container_status_last_terminated_reason", "redis", reason="OOMKilled"): since(
                    25, 1, "_"
                ),
            },
        ),
    }


_WELL: Final = healthy()
_REFUSED: Final = scraped("producer", "eventsvc_events_refused_total", stream="Orders", reason="redis_away")
_READY: Final = series("kube_statefulset_status_replicas_ready", statefulset="redis-master")
_RESTARTS: Final = series("kube_pod_container_status_restarts_total", pod=pod("consumer"), container="consumer")
_CONSUMER: Final = 'job="event-consumer-metrics"'


def _late(values: str, minutes: float) -> str:
    """Return the samples of what is there after some minutes alone."""
    return f"_x{int(minutes * 4) - 1} {values}"


#: What an operator does every week, and small faults that end by themselves.
SILENT: Final[Mapping[str, Figures]] = {
    "all is well": _WELL,
    "it is installed": {
        **{name: _late(values, 1.5) for name, values in _WELL.items()},
        **{name: f"_x5 0x4 {steady(1)}" for name in _WELL if "redis_connected" in name or "consumer_ready" in name},
        _READY: f"_x3 0x4 {steady(3)}",
    },
    "producers are rolled": {
        **_WELL,
        # The old pod's figures end while it still drains; the new one's begin before it is ready.
        scraped("producer", "up", 1): during(10, 10.5, 0, "1"),
        scraped("producer", "up", 3): since(10, 1, "_"),
        scraped("producer", "eventsvc_redis_connected", 3, role="producer"): f"_x39 0x2 {steady(1)}",
        series("kube_pod_status_phase", pod=pod("producer", 3), phase="Pending"): during(9.5, 11, 1),
        series("kube_deployment_status_replicas_available", deployment="event-producer"): during(10, 11, 1, "2"),
    },
    "the consumer is rolled, and nobody is there meanwhile": {
        **{
            name: f"{values.split('x')[0]}x39 _x3 {values}" if _CONSUMER in name else values
            for name, values in _WELL.items()
        },
        series("kube_deployment_status_replicas_available", deployment="event-consumer"): during(10, 11, 0, "1"),
    },
    "Redis is rolled": {
        **_WELL,
        **{name: during(10, 11, 0, "1") for name in _WELL if "redis_connected" in name or "consumer_ready" in name},
        _READY: during(10, 11, 2, "3"),
        _REFUSED: "0x39 0+50x3 200x100",
        _RESTARTS: steady(0),
    },
    "a pod restarts once": {**_WELL, _RESTARTS: since(10, 2, "1")},
    "it was out of memory once, a long time ago": {
        **_WELL,
        series(
            "kube_pod_container_status_last_terminated_reason",
            pod=pod("consumer"),
            container="consumer",
            reason="OOMKilled",
        ): steady(1),
    },
    "a backlog of two hours is caught up": {
        **_WELL,
        scraped("producer", "eventsvc_oldest_pending_seconds", 1, **BACKLOG): f"0x10 7200-30x{SAMPLES}",
        scraped("producer", "eventsvc_oldest_pending_seconds", 2, **BACKLOG): f"0x10 7200+5x{SAMPLES}",
        scraped("consumer", "eventsvc_oldest_pending_seconds", **BACKLOG): "7200+15x20 " * 6,
    },
    "figures of Kubernetes are not there": without(_WELL, "kube"),
    "pods of others do not start": {
        **_WELL,
        series("kube_pod_status_phase", pod="event-producer-of-mine-75f7c9b9fb-abcde", phase="Pending"): steady(1),
        series("kube_pod_status_phase", pod="orders-redis-master-0", phase="Pending"): steady(1),
    },
    "another part of the release has figures": {
        **_WELL,
        series("up", job="event-simulator-metrics", pod="event-simulator-1"): steady(0),
    },
}

_IDLE: Final = {
    **without(_WELL, _CONSUMER),
    series("kube_deployment_spec_replicas", deployment="event-consumer"): steady(0),
    series("kube_deployment_status_replicas_available", deployment="event-consumer"): steady(0),
    scraped("producer", "eventsvc_oldest_unread_seconds", **BACKLOG): steady(0),
    scraped("producer", "eventsvc_oldest_pending_seconds", **BACKLOG): steady(0),
}

#: What is well where KEDA may end the last consumer.
ON_DEMAND_SILENT: Final[Mapping[str, Figures]] = {
    "nothing is to be done": _IDLE,
    "an event wakes a consumer": {
        **_IDLE,
        scraped("producer", "eventsvc_oldest_unread_seconds", **BACKLOG): "0x38 0+15x5 0x100",
        scraped("consumer", "up"): "_x43 1x20",
        scraped("consumer", "eventsvc_oldest_unread_seconds", **BACKLOG): "_x43 1x20",
    },
    "another release has no consumer for its stream": {
        **_IDLE,
        scraped("producer", "eventsvc_oldest_unread_seconds", 1, "orders-", **BACKLOG): steady(90),
    },
}
