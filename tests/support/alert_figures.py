"""
Figures of a release as Prometheus has them, for the tests of alerts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.support.alerts import MINUTES, Figures

#: The samples of a scenario.
SAMPLES: Final = MINUTES * 4

#: The labels of figures on how far a group is behind.
BACKLOG: Final[Mapping[str, str]] = {"stream": "NotificationStream", "group": "demo_consumer_group"}

#: The figures that are not eventsvc's, by who makes them.
FOREIGN: Final[Mapping[str, str]] = {
    "up": "Prometheus",
    "kubelet_volume_stats_available_bytes": "kubelet",
    "kubelet_volume_stats_capacity_bytes": "kubelet",
    "kube_deployment_spec_replicas": "kube-state-metrics",
    "kube_deployment_status_replicas_available": "kube-state-metrics",
    "kube_statefulset_replicas": "kube-state-metrics",
    "kube_statefulset_status_replicas_ready": "kube-state-metrics",
    "kube_pod_status_phase": "kube-state-metrics",
    "kube_pod_container_status_restarts_total": "kube-state-metrics",
    "kube_pod_container_status_last_terminated_reason": "kube-state-metrics",
}


def series(name: str, **labels: str) -> str:
    """Return a series of the namespace C{here}."""
    pairs = ",".join(f'{label}="{value}"' for label, value in {"namespace": "here", **labels}.items())
    return f"{name}{{{pairs}}}"


def steady(value: float) -> str:
    """Return the samples of what never changes."""
    return f"{value}x{SAMPLES}"


def since(minute: float, value: float, before: str = "0") -> str:
    """Return the samples of what has a value from a minute on; C{before} may be C{_}: there is no sample."""
    first = int(minute * 4)
    return f"{before}x{first - 1} {value}x{SAMPLES - first}"


def during(first: float, last: float, value: float, other: str = "0") -> str:
    """Return the samples of what has a value between two minutes."""
    start, end = int(first * 4), int(last * 4)
    return f"{other}x{start - 1} {value}x{end - start - 1} {other}x{SAMPLES - end}"


def since_event(minute: float) -> str:
    """Return the samples of an age of one event, from a minute on."""
    first = int(minute * 4)
    return f"{f'0x{first - 1} ' if first else ''}0+15x{SAMPLES - first}"


def scraped(role: str, name: str, number: int = 1, prefix: str = "", /, **labels: str) -> str:
    """Return a figure of a pod of the producer or the consumer."""
    return series(name, job=f"{prefix}event-{role}-metrics", pod=pod(role, number, prefix), **labels)


def pod(role: str, number: int = 1, prefix: str = "") -> str:
    """Return the name of a pod."""
    return f"{prefix}redis-master-{number - 1}" if role == "redis" else f"{prefix}event-{role}-75f7c9b9fb-abcd{number}"


def of_kubernetes(prefix: str = "") -> dict[str, str]:
    """Return the figures of Kubernetes on a release with nothing to complain of."""
    deployments = {"producer": 2, "consumer": 1}
    claim = f"data-{prefix}redis-master-0"
    figures = {}
    for role, replicas in deployments.items():
        for name in ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_available"):
            figures[series(name, deployment=f"{prefix}event-{role}")] = steady(replicas)
    for name in ("kube_statefulset_replicas", "kube_statefulset_status_replicas_ready"):
        figures[series(name, statefulset=f"{prefix}redis-master")] = steady(3)
    for role, replicas in (*deployments.items(), ("redis", 3)):
        for number in range(1, replicas + 1):
            its = {"pod": pod(role, number, prefix)}
            figures[series("kube_pod_status_phase", phase="Pending", **its)] = steady(0)
            figures[series("kube_pod_status_phase", phase="Running", **its)] = steady(1)
            figures[series("kube_pod_container_status_restarts_total", container=role, **its)] = steady(1)
    figures[series("kubelet_volume_stats_available_bytes", persistentvolumeclaim=claim)] = steady(60)
    figures[series("kubelet_volume_stats_capacity_bytes", persistentvolumeclaim=claim)] = steady(100)
    return figures


def of_pods(prefix: str = "") -> dict[str, str]:
    """Return the figures of two producers and a consumer with nothing to complain of."""
    figures = {}
    for number in (1, 2):
        for name, value in (
            ("eventsvc_lost_total", 0),
            ("eventsvc_restored_total", 0),
            ("eventsvc_events_unknown_total", 0),
            ("eventsvc_idempotency_keys", 800_000),
            ("eventsvc_retained_seconds", 30),
        ):
            figures[scraped("producer", name, number, prefix, stream="Orders")] = steady(value)
        for name in ("eventsvc_oldest_unread_seconds", "eventsvc_oldest_pending_seconds"):
            figures[scraped("producer", name, number, prefix, **BACKLOG)] = steady(1)
        for reason in ("redis_away", "redis_full", "queue_full", "stream_full", "keys_full"):
            labels = {"stream": "Orders", "reason": reason}
            figures[scraped("producer", "eventsvc_events_refused_total", number, prefix, **labels)] = steady(0)
        for name, value in (
            ("eventsvc_redis_full", 0),
            ("eventsvc_tokens_stale", 0),
            ("eventsvc_tls_reload_failures_total", 0),
            ("eventsvc_tls_certificate_expires_seconds", 700_000),
        ):
            figures[scraped("producer", name, number, prefix)] = steady(value)
        figures[scraped("producer", "up", number, prefix)] = steady(1)
        figures[scraped("producer", "eventsvc_redis_connected", number, prefix, role="producer")] = steady(1)
    for name, value in (
        ("up", 1),
        ("eventsvc_consumer_ready", 1),
        ("eventsvc_consumer_name_in_use", 0),
        ("eventsvc_handler_failing", 0),
        ("eventsvc_webhook_gone", 0),
        ("eventsvc_groups_recreated_total", 0),
        ("eventsvc_trimmed_pending_total", 0),
        ("eventsvc_dead_letters", 0),
    ):
        figures[scraped("consumer", name, 1, prefix)] = steady(value)
    for name in ("eventsvc_oldest_unread_seconds", "eventsvc_oldest_pending_seconds"):
        figures[scraped("consumer", name, 1, prefix, **BACKLOG)] = steady(1)
    for role in ("producer", "consumer"):
        figures[scraped(role, "eventsvc_redis_memory_bytes", 1, prefix, role=role)] = steady(80)
        figures[scraped(role, "eventsvc_redis_memory_max_bytes", 1, prefix, role=role)] = steady(100)
    figures[scraped("consumer", "eventsvc_redis_connected", 1, prefix, role="consumer")] = steady(1)
    return figures


def healthy(prefix: str = "") -> dict[str, str]:
    """Return the figures of a release with nothing to complain of."""
    return {**of_kubernetes(prefix), **of_pods(prefix)}


def without(figures: Figures, *parts: str) -> dict[str, str]:
    """Return the figures but for those with one of these texts in their series."""
    return {name: values for name, values in figures.items() if not any(part in name for part in parts)}
