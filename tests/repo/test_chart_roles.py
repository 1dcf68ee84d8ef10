"""
Tests for how the chart runs, replaces and scales producers and consumers.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_kubernetes import serving
from tests.support.helm import Object, pod_of, refusal, render, the

ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
RECREATE = {"type": "Recreate"}


def test_a_pod_that_is_not_ready_blocks_no_drain() -> None:
    """While Redis is down, no pod is ready, and nodes must be drained all the same."""
    budgets = [each["spec"] for each in render() if each["kind"] == "PodDisruptionBudget"]
    assert len(budgets) >= 2
    assert {budget["unhealthyPodEvictionPolicy"] for budget in budgets} == {"AlwaysAllow"}


# Order


@pytest.mark.parametrize(
    ("values", "strategy"),
    [
        ({}, RECREATE),
        ({"consumer.replicas": 0}, RECREATE),
        ({"consumer.settings": {"CONSUMER_CONCURRENCY": 8}}, RECREATE),
        ({"consumer.replicas": 2}, ROLLING),
        ({"consumer.keda": {"enabled": True}}, ROLLING),
        ({"consumer.keda": {"enabled": True, "maxReplicas": 1}}, RECREATE),
        ({"consumer.replicas": 2, "consumer.keda": {"enabled": True, "maxReplicas": 1}}, RECREATE),
        ({"consumer.strategy": {"type": "RollingUpdate"}}, {"type": "RollingUpdate"}),
        ({"consumer.replicas": 2, "consumer.strategy": RECREATE}, RECREATE),
    ],
)
def test_a_consumer_that_is_alone_ends_before_the_next_one_starts(values: Any, strategy: Object) -> None:
    """Two at once would mix up the order, of all events or of those of a key."""
    objects = render(values)
    assert the(objects, "Deployment", "event-consumer")["spec"]["strategy"] == strategy
    assert the(objects, "Deployment", "event-producer")["spec"]["strategy"] == ROLLING


# Number


def _running(name: str, replicas: int, release: str = "demo") -> Object:
    owner = {"meta.helm.sh/release-name": release}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "here", "annotations": owner},
        "spec": {"replicas": replicas},
    }


SCALING = {"producer.autoscaling": {"enabled": True}, "consumer.keda": {"enabled": True}}


@pytest.mark.parametrize(("producers", "consumers"), [(5, 3), (1, 0)])
def test_what_scales_by_itself_keeps_its_pods(producers: int, consumers: int) -> None:
    """Without a number in the manifest, Kubernetes would set one pod when the scaling is switched on."""
    with serving([_running("event-producer", producers), _running("event-consumer", consumers)]) as url:
        objects = render(SCALING, server=url)
    assert the(objects, "Deployment", "event-producer")["spec"]["replicas"] == producers
    assert the(objects, "Deployment", "event-consumer")["spec"]["replicas"] == consumers


def test_a_producer_that_was_scaled_to_0_comes_back_with_an_upgrade() -> None:
    """An autoscaler does nothing for a Deployment without pods."""
    with serving([_running("event-producer", 0)]) as url:
        objects = render(SCALING, server=url)
    assert the(objects, "Deployment", "event-producer")["spec"]["replicas"] == 1


def test_a_second_release_keeps_pods_of_its_own() -> None:
    with serving([_running("event-producer", 5), _running("second-event-producer", 7)]) as url:
        objects = render({**SCALING, "fullnameOverride": "second"}, server=url)
    assert the(objects, "Deployment", "second-event-producer")["spec"]["replicas"] == 7
    assert "replicas" not in the(objects, "Deployment", "second-event-consumer")["spec"]


def test_what_does_not_scale_by_itself_has_the_number_of_the_values() -> None:
    with serving([_running("event-producer", 5)]) as url:
        objects = render({"producer.replicas": 3}, server=url)
    assert the(objects, "Deployment", "event-producer")["spec"]["replicas"] == 3


@pytest.mark.parametrize(("replicas", "least", "expected"), [(2, 2, 2), (5, 2, 5), (2, 4, 4), (0, 1, 1)])
def test_scaling_never_goes_below_the_number_of_the_values(replicas: int, least: int, expected: int) -> None:
    scaling = {"enabled": True, "minReplicas": least}
    objects = render({"producer.replicas": replicas, "producer.autoscaling": scaling})
    assert the(objects, "HorizontalPodAutoscaler", "event-producer")["spec"]["minReplicas"] == expected


def test_scaling_that_could_never_be_is_refused() -> None:
    words = refusal({"producer.replicas": 12, "producer.autoscaling.enabled": True})
    assert "producer.autoscaling.maxReplicas is 10, and the least number of pods is 12" in words


def test_scaling_goes_by_the_core_and_not_by_the_request() -> None:
    """A process uses one core at most, whatever it requests."""
    objects = render({"producer.autoscaling.enabled": True, "producer.resources.requests.cpu": "1m"})
    (metric,) = the(objects, "HorizontalPodAutoscaler", "event-producer")["spec"]["metrics"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "500m"}


# The end of a pod


@pytest.mark.parametrize(
    ("kubernetes", "seconds", "handler"),
    [
        ("1.35", 5, {"sleep": {"seconds": 5}}),
        ("1.30", 5, {"sleep": {"seconds": 5}}),
        ("1.30.0-eks-1", 5, {"sleep": {"seconds": 5}}),
        ("1.29.9", 5, {"exec": {"command": ["sleep", "5"]}}),
        ("1.27", 20, {"exec": {"command": ["sleep", "20"]}}),
    ],
)
def test_a_producer_takes_requests_for_a_while_after_it_was_told_to_end(
    kubernetes: str, seconds: int, handler: Object
) -> None:
    objects = render({"producer.lameDuckSeconds": seconds}, kubernetes=kubernetes)
    (container,) = pod_of(the(objects, "Deployment", "event-producer"))["spec"]["containers"]
    assert container["lifecycle"] == {"preStop": handler}


def test_a_producer_that_need_not_wait_has_no_hook() -> None:
    """Kubernetes before 1.33 refuses a sleep of no seconds."""
    (container,) = pod_of(the(render({"producer.lameDuckSeconds": 0}), "Deployment", "event-producer"))["spec"][
        "containers"
    ]
    assert "lifecycle" not in container


# What restarts a pod


def _secret(name: str, text: str) -> Object:
    metadata = {"name": name, "namespace": "here"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"token": text}}


ROLES = ("producer", "consumer", "simulator")


@pytest.mark.parametrize(
    ("values", "restarted"),
    [
        ({"redis.auth.existingSecret": "mine"}, {"producer", "consumer"}),
        ({"consumer.webhook.existingSecret": "mine"}, {"consumer"}),
        ({"simulator.tokenSecret": "mine"}, {"simulator"}),
        ({"producer.tokens.existingSecret": "mine", "simulator.tokenSecret": "other"}, set()),
        ({"producer.tls.existingSecret": "mine"}, set()),
    ],
)
def test_a_secret_of_yours_restarts_those_that_read_it_only_when_they_start(values: Any, restarted: set[str]) -> None:
    """The rest is read again while they run."""
    found = []
    for text in ("b25l", "dHdv"):
        with serving([_secret("mine", text)]) as url:
            found.append(_checksums(render({"simulator.enabled": True, **values}, server=url)))
    before, after = found
    assert {role for role in ROLES if before[role] != after[role]} == restarted


def test_the_generated_password_restarts_nothing() -> None:
    """It is found from the second installation on."""
    with serving([_secret("redis", "b25l")]) as url:
        assert _checksums(render({"simulator.enabled": True}, server=url)) == _checksums(
            render({"simulator.enabled": True})
        )


def test_a_changed_handler_restarts_the_consumer_alone() -> None:
    before, after = (
        _checksums(render({"simulator.enabled": True, "consumer.handlers": {"mine.py": text}})) for text in "ab"
    )
    assert {role for role in ROLES if before[role] != after[role]} == {"consumer"}


def _checksums(objects: list[Object]) -> dict[str, str]:
    pods = {role: pod_of(the(objects, "Deployment", f"event-{role}")) for role in ROLES}
    return {role: pod["metadata"]["annotations"]["checksum/config"] for role, pod in pods.items()}


# What a pod has besides


def test_what_a_role_says_beats_what_is_said_of_all() -> None:
    objects = render({"nodeSelector": {"pool": "any"}, "producer.nodeSelector": {"pool": "front"}})
    selectors = {
        role: pod_of(the(objects, "Deployment", f"event-{role}"))["spec"]["nodeSelector"]
        for role in ("producer", "consumer")
    }
    assert selectors == {"producer": {"pool": "front"}, "consumer": {"pool": "any"}}


def test_the_timing_of_a_probe_changes_and_the_rest_stays() -> None:
    objects = render({"consumer.livenessProbe": {"periodSeconds": 30}})
    (container,) = pod_of(the(objects, "Deployment", "event-consumer"))["spec"]["containers"]
    get = {"path": "/health/live", "port": "http"}
    assert container["livenessProbe"] == {
        "httpGet": get,
        "periodSeconds": 30,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }


def test_pods_are_spread_by_their_own_labels() -> None:
    values = {"consumer.topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2}]}
    (constraint,) = pod_of(the(render(values), "Deployment", "event-consumer"))["spec"]["topologySpreadConstraints"]
    labels = {"app": "event-consumer", "app.kubernetes.io/instance": "demo"}
    assert constraint == {"topologyKey": "zone", "maxSkew": 2, "labelSelector": {"matchLabels": labels}}


def test_a_handler_of_the_values_can_be_imported() -> None:
    objects = render({"consumer.handlers": {"mine.py": "def handle(event): ..."}})
    assert the(objects, "ConfigMap", "event-consumer-handlers")["data"] == {"mine.py": "def handle(event): ..."}
    pod = pod_of(the(objects, "Deployment", "event-consumer"))["spec"]
    (container,) = pod["containers"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "handlers"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "handlers"]
    assert volume["configMap"] == {"name": "event-consumer-handlers"}
    assert {"name": "PYTHONPATH", "value": mount["mountPath"]} in container["env"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"commonLabels": {"app": "x"}}, "commonLabels has app, which the chart sets"),
        (
            {"consumer.podLabels": {"app.kubernetes.io/name": "x"}},
            "consumer.podLabels has app.kubernetes.io/name, which the chart sets",
        ),
        (
            {"consumer.handlers": {"a.py": ""}, "consumer.extraEnv": [{"name": "PYTHONPATH", "value": "/x"}]},
            "consumer.extraEnv has PYTHONPATH, which consumer.handlers sets",
        ),
        ({"consumer.handlers": {"not a module": ""}}, "not a module"),
        ({"producer.livenessProbe": {"httpGet": {}}}, "httpGet"),
        ({"image.digest": "latest"}, "digest"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(values: Any, sentence: str) -> None:
    assert sentence in refusal(values)
