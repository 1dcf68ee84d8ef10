"""
Tests for how the chart scales consumers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.support.helm import Object, container, picks, pods, render, settings, the

KEDA: Final = {"consumer.keda.enabled": True}
TLS: Final = {"producer.tls.existingSecret": "certificate"}


def scaled(values: dict[str, Any]) -> Object:
    """Return the spec of the ScaledObject."""
    spec: Object = the(render(KEDA | values), "ScaledObject", "event-consumer")["spec"]
    return spec


def urls(spec: Object) -> set[str]:
    return {trigger["metadata"]["url"] for trigger in spec["triggers"]}


def asked(objects: Sequence[Object], url: str) -> list[int]:
    """Return the ports of the pods that a URL of the release leads to."""
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    name, _, namespace = host.partition(".")
    service = the(objects, "Service", name)["spec"]
    assert namespace == "here"
    (target,) = [each["targetPort"] for each in service["ports"] if each["port"] == int(port)]
    behind = [pod for pod in pods(objects) if picks(service["selector"], pod["metadata"]["labels"])]
    return [
        each["containerPort"]
        for pod in behind
        for each in pod["spec"]["containers"][0]["ports"]
        if each["name"] == target
    ]


@pytest.mark.parametrize(
    ("values", "port"),
    [({}, 8080), ({"producer.admin.enabled": True}, 8081), (TLS, 8081), ({"fullnameOverride": "second"}, 8080)],
    ids=["plain", "admin", "tls", "second"],
)
def test_keda_asks_where_health_and_metrics_are(values: dict[str, Any], port: int) -> None:
    """In plain HTTP, by a name that is valid in every namespace."""
    objects = render(KEDA | values)
    (found,) = [each["spec"] for each in objects if each["kind"] == "ScaledObject"]
    (url,) = urls(found)
    assert asked(objects, url) == [port]
    assert url.endswith("/backlog?stream=NotificationStream")


@pytest.mark.parametrize(
    ("values", "query"),
    [
        ({"settings.REDIS_STREAM": "Orders"}, "Orders"),
        ({"consumer.settings.REDIS_STREAM": "a&b=c", "producer.streams": ["a&b=c"]}, "a%26b%3Dc"),
    ],
)
def test_keda_asks_for_the_stream_of_the_consumers(values: dict[str, Any], query: str) -> None:
    assert {url.partition("?stream=")[2] for url in urls(scaled(values))} == {query}


def test_consumers_alone_ask_the_producers_of_another_release() -> None:
    url = "http://event-producer-svc.events:8080/backlog"
    alone = {"producer.enabled": False, "redis.enabled": False, "externalRedis.host": "x", "consumer.keda.url": url}
    assert urls(scaled(alone)) == {f"{url}?stream=NotificationStream"}


def test_the_producer_knows_the_group_of_the_consumers() -> None:
    for values in ({"consumer.settings.REDIS_CONSUMER_GROUP": "g"}, {"settings.REDIS_CONSUMER_GROUP": "g"}):
        objects = render(values)
        groups = [settings(objects, name)["REDIS_CONSUMER_GROUP"] for name in ("event-producer", "event-consumer")]
        assert groups == ["g", "g"]


@pytest.mark.parametrize(("least", "kept"), [(0, 1), (1, 1), (4, 4)])
def test_a_producer_that_cannot_be_asked_leaves_consumers_running(least: int, kept: int) -> None:
    """None is taken away, also not the last, and one is there in any case."""
    spec = scaled({"consumer.keda.minReplicas": least})
    assert spec["minReplicaCount"] == least
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": kept, "behavior": "currentReplicasIfHigher"}


def test_large_numbers_stay_whole() -> None:
    spec = scaled({"consumer.keda.cooldownSeconds": 10_000_000, "consumer.keda.targetAgeSeconds": 10_000_000})
    assert spec["cooldownPeriod"] == 10_000_000
    assert spec["triggers"][1]["metadata"]["targetValue"] == "10000000"


def test_nothing_is_made_for_keda_without_it() -> None:
    objects = render(TLS)
    assert not [each for each in objects if each["kind"] == "ScaledObject"]
    assert "event-producer-admin" not in {each["metadata"]["name"] for each in objects}
    assert container(objects, "event-consumer")
