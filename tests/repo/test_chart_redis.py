"""
What the chart installs for Redis: one pod, or several with Sentinels.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from tests.support.helm import CHART, Object, pod_of, refusal, render, the

SCRIPTS = sorted((CHART / "files" / "redis").iterdir())
THREE: Mapping[str, Any] = {"redis.replicas": 3}


def _pod(values: Mapping[str, Any]) -> Object:
    found: Object = pod_of(the(render(values), "StatefulSet", "redis-master"))["spec"]
    return found


def _named(objects: Sequence[Object], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in objects if each["kind"] == kind}


def test_one_pod_has_no_sentinel() -> None:
    objects = render()
    assert [each["name"] for each in _pod({})["containers"]] == ["redis"]
    assert "redis-master" not in _named(objects, "PodDisruptionBudget")
    assert "REDIS_SENTINELS" not in the(objects, "ConfigMap", "event-producer")["data"]
    assert "min-replicas" not in the(objects, "ConfigMap", "redis")["data"]["redis.conf"]


def test_producers_and_consumers_ask_the_sentinels_of_all_pods() -> None:
    objects = render(THREE)
    for role in ("producer", "consumer"):
        data = the(objects, "ConfigMap", f"event-{role}")["data"]
        given = read(RedisSettings, {name: text for name, text in data.items() if not name.endswith("_FILE")})
        assert [str(each) for each in given.sentinels] == [f"redis-master-{n}.here.svc:26379" for n in range(3)]
        assert given.sentinel_service == "redis-master"
        assert data["REDIS_SENTINEL_PASSWORD_FILE"] == data["REDIS_PASSWORD_FILE"]
    assert _named(objects, "Service") >= {f"redis-master-{number}" for number in range(3)}


@pytest.mark.parametrize("values", [{}, THREE])
def test_a_bad_pod_holds_up_no_other(values: Mapping[str, Any]) -> None:
    assert the(render(values), "StatefulSet", "redis-master")["spec"]["podManagementPolicy"] == "Parallel"


def test_a_drain_takes_one_pod_and_any_that_is_of_no_use() -> None:
    spec = the(render(THREE), "PodDisruptionBudget", "redis-master")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


@pytest.mark.parametrize(
    ("spread", "kind"),
    [
        ("soft", "preferredDuringSchedulingIgnoredDuringExecution"),
        ("hard", "requiredDuringSchedulingIgnoredDuringExecution"),
    ],
)
def test_pods_are_spread_over_nodes(spread: str, kind: str) -> None:
    affinity = _pod({**THREE, "redis.spread": spread})["affinity"]
    assert list(affinity["podAntiAffinity"]) == [kind]


def test_pods_are_not_spread_where_that_is_not_wanted() -> None:
    assert "podAntiAffinity" not in (_pod({**THREE, "redis.spread": "none"}).get("affinity") or {})
    assert "podAntiAffinity" not in (_pod({}).get("affinity") or {})


def test_redis_is_named_by_its_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    assert _pod({"redis.image.digest": digest})["containers"][0]["image"] == f"localhost/eventsvc-redis@{digest}"


@pytest.mark.parametrize("replicas", [2, 4, 0, "3"])
def test_an_even_number_of_pods_is_refused_by_the_name_of_the_value(replicas: Any) -> None:
    assert "replicas" in refusal({"redis.replicas": replicas})


def test_with_tls_nothing_goes_without() -> None:
    objects = render({**THREE, "redis.tls": {"enabled": True, "existingSecret": "redis-certificate"}})
    for role in ("producer", "consumer"):
        data = the(objects, "ConfigMap", f"event-{role}")["data"]
        assert (data["REDIS_TLS"], data["REDIS_TLS_CA"]) == ("on", "/etc/eventsvc/redis-ca/ca.crt")
        volumes = pod_of(the(objects, "Deployment", f"event-{role}"))["spec"]["volumes"]
        assert "redis-certificate" in json.dumps(volumes)
    for container in pod_of(the(objects, "StatefulSet", "redis-master"))["spec"]["containers"]:
        assert {"name": "TLS", "value": "on"} in container["env"]


def test_tls_without_a_certificate_is_refused_with_a_sentence() -> None:
    assert "redis.tls.enabled is set without redis.tls.existingSecret:" in refusal({"redis.tls.enabled": True})


def test_an_image_without_a_tag_is_refused_with_a_sentence() -> None:
    assert "redis.image.tag and redis.image.digest are both empty:" in refusal({"redis.image.tag": ""})


@pytest.mark.parametrize("value", ["redis.auth", "producer.settings", "consumer.keda", "tests"])
def test_a_part_that_is_taken_away_is_named(value: str) -> None:
    """Helm leaves out a value that is null."""
    assert f"missing property '{value.rpartition('.')[2]}'" in refusal({value: None})


def test_redis_may_have_no_resources_at_all() -> None:
    assert render({"redis.resources": None})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
