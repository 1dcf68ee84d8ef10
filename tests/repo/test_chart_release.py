"""
Tests for what the chart refuses when it sees what is in the cluster, with objects that a test puts there.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm import CHART, refusal, render, the

OURS = {"annotations": {"meta.helm.sh/release-name": "demo"}}
EXTERNAL = {"redis.enabled": False, "externalRedis.host": "redis.example.org"}

Found = dict[str, dict[str, Any]]


def running(**claim: Any) -> Found:
    """Return the Redis of a release as the chart makes it now, but for its claim."""
    spec = dict(the(render(), "StatefulSet", "redis-master")["spec"])
    template = {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "local", **claim}
    return {
        "StatefulSet": {
            "redis-master": {"metadata": OURS, "spec": spec | {"volumeClaimTemplates": [{"spec": template}]}}
        }
    }


def test_the_lookup_is_of_this_namespace() -> None:
    text = (CHART / "templates" / "_found.tpl").read_text()
    assert "lookup (index . 1) (index . 2) (index . 0).Release.Namespace (index . 3)" in text
    assert not [path for path in CHART.glob("templates/check*.yaml") if "lookup " in path.read_text()]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"redis.persistence.size": "2048Mi"},
        {"redis.persistence.storageClass": "local"},
        {"redis.maxmemory": "200mb"},
    ],
)
def test_an_upgrade_that_the_cluster_can_do_is_let_through(chart: Path, values: Any) -> None:
    assert render({"global.found": running(), **values}, chart=chart)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            EXTERNAL,
            "the release has a Redis of its own (StatefulSet redis-master), and events that no consumer has read",
        ),
        ({"redis.persistence.size": "4Gi"}, "redis.persistence.size is 4Gi, and the volume was made with 2Gi:"),
        ({"redis.persistence.size": "1Gi"}, "delete statefulset redis-master --cascade=orphan"),
        ({"redis.persistence.storageClass": "fast"}, "redis.persistence.storageClass is fast, and the volume was made"),
    ],
)
def test_an_upgrade_that_would_lose_or_fail_is_refused_with_a_remedy(chart: Path, values: Any, sentence: str) -> None:
    assert sentence in refusal({"global.found": running(), **values}, chart=chart)


@pytest.mark.parametrize("field", ["podManagementPolicy", "serviceName"])
def test_a_set_of_an_older_chart_is_refused_with_the_command_to_type(chart: Path, field: str) -> None:
    found = running()
    found["StatefulSet"]["redis-master"]["spec"][field] = "OrderedReady"
    told = refusal({"global.found": found}, chart=chart)
    assert "The StatefulSet redis-master is of an older chart" in told
    assert "kubectl --namespace here delete statefulset redis-master --cascade=orphan" in told


def test_a_pod_that_comes_back_to_an_old_claim_is_refused(chart: Path) -> None:
    found: Found = running() | {"PersistentVolumeClaim": {"data-redis-master-2": {"spec": {"volumeName": "old"}}}}
    assert "the claim data-redis-master-2 is there" in refusal(
        {"global.found": found, "redis.replicas": 3}, chart=chart
    )
    assert render({"global.found": found}, chart=chart)


def test_a_drained_redis_may_go(chart: Path) -> None:
    objects = render({"global.found": running(), **EXTERNAL, "externalRedis.moved": "all"}, chart=chart)
    assert not [each for each in objects if "redis" in each["metadata"]["name"]]


def test_half_of_a_move_is_let_through(chart: Path) -> None:
    assert render({"global.found": running()}, overlay=CHART / "ci" / "moving.yaml", chart=chart)


def test_the_redis_of_another_release_is_not_asked_after(chart: Path) -> None:
    found = running()
    found["StatefulSet"]["redis-master"]["metadata"] = {"annotations": {"meta.helm.sh/release-name": "other"}}
    assert render({"global.found": found, **EXTERNAL}, chart=chart)


# Passwords


def _secret(chart: Path, kept: dict[str, str], rotation: str | None, values: Any) -> dict[str, str]:
    """Return the Secret after an upgrade, with C{kept} in the one before."""
    data = {name: b64encode(text.encode()).decode() for name, text in kept.items()}
    annotations = {} if rotation is None else {"annotations": {"eventsvc/rotation": rotation}}
    found = {"Secret": {"redis": {"metadata": annotations, "data": data}}}
    made = the(render({"global.found": found, **values}, chart=chart), "Secret", "redis")["data"]
    return {name: b64decode(text).decode() for name, text in made.items()}


BOTH = {"redis-password": "a", "eventsvc-password": "b"}
PREVIOUS = {f"{name}-previous": text for name, text in BOTH.items()}


def test_passwords_are_kept(chart: Path) -> None:
    assert _secret(chart, BOTH, "0", {}) == BOTH
    assert _secret(chart, BOTH | PREVIOUS, "2", {"redis.auth.rotation": 2}) == BOTH, "the old ones are dropped"


def test_a_release_of_an_older_chart_keeps_its_password_and_gets_another(chart: Path) -> None:
    made = _secret(chart, {"redis-password": "a"}, None, {})
    assert made.keys() == BOTH.keys()
    assert made["redis-password"] == "a"
    assert len(made["eventsvc-password"]) == 32


def test_a_rotation_makes_new_passwords_and_accepts_the_old_ones(chart: Path) -> None:
    made = _secret(chart, BOTH, "0", {"redis.auth.rotation": 1})
    assert made.items() > PREVIOUS.items()
    assert len({made["redis-password"], made["eventsvc-password"], "a", "b"}) == 4


def test_a_password_of_ones_own_replaces_the_one_before(chart: Path) -> None:
    values = {"redis.auth.eventsvcPassword": "new"}
    made = BOTH | {"eventsvc-password": "new"}
    assert _secret(chart, BOTH, "0", values) == made | {"eventsvc-password-previous": "b"}
    assert _secret(chart, made, "0", values) == made
    assert _secret(chart, made, "0", {}) == made, "it is kept"
    again = _secret(chart, made, "0", values | {"redis.auth.rotation": 1})
    assert again["eventsvc-password"] == "new", "rotation is for those that were made"
    assert again["redis-password-previous"] == "a"


# A second release


def _owned(kind: str, name: str, owner: str | None) -> Found:
    annotations = {"meta.helm.sh/release-name": owner} if owner else {"made": "by hand"}
    return {kind: {name: {"metadata": {"annotations": annotations}}}}


OBJECTS = [
    ("Service", "event-producer-svc"),
    ("Deployment", "event-consumer"),
    ("Deployment", "event-simulator"),
    ("Service", "redis-master"),
]


@pytest.mark.parametrize(("kind", "name"), OBJECTS)
@pytest.mark.parametrize(
    ("owner", "whose"), [("other", "belongs to the release other"), (None, "belongs to no release")]
)
def test_a_second_release_in_a_namespace_is_told_so(
    chart: Path, kind: str, name: str, owner: str | None, whose: str
) -> None:
    values = {"global.found": _owned(kind, name, owner), "simulator.enabled": True}
    told = refusal(values, chart=chart)
    assert f"The {kind} {name} is in the namespace here already, and {whose}" in told
    assert "Set fullnameOverride" in told
    assert render(values | {"fullnameOverride": "second"}, chart=chart), "names of its own"


@pytest.mark.parametrize(("kind", "name"), OBJECTS)
def test_objects_of_the_release_are_no_reason(chart: Path, kind: str, name: str) -> None:
    assert render({"global.found": _owned(kind, name, "demo"), "simulator.enabled": True}, chart=chart)


def test_a_part_that_is_off_clashes_with_nothing(chart: Path) -> None:
    found = _owned("Service", "event-producer-svc", "other") | _owned("Deployment", "event-simulator", "other")
    assert render({"global.found": found, "producer.enabled": False}, chart=chart)
