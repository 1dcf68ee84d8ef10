"""
Tests for which Redis each part of a release uses, and how it gets in.
"""

from __future__ import annotations

from typing import Any

import pytest

from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from tests.support.helm import CHART, pod_of, refusal, render, settings, the
from tests.support.pods import files

SENTINELS = CHART / "ci" / "external-sentinels.yaml"
MOVING = CHART / "ci" / "moving.yaml"
EXTERNAL: dict[str, Any] = {"redis.enabled": False, "externalRedis.host": "redis.example.org"}


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "event-producer"), ("Deployment", "event-consumer")])
def test_external_sentinels_are_asked_by_each_role(kind: str, name: str) -> None:
    objects = render(overlay=SENTINELS)
    given = settings(objects, name)
    found = read(RedisSettings, {key: text for key, text in given.items() if not key.endswith("_FILE")})
    assert [str(each) for each in found.sentinels] == [
        *("sentinel-0.example.org:26379", "sentinel-1.example.org:26379", "[2001:db8::1]:26380")
    ]
    assert (found.sentinel_service, found.sentinel_username) == ("events", "eventsvc-sentinel")
    assert "REDIS_HOST" not in given
    secrets = files(pod_of(the(objects, kind, name)))
    assert secrets[given["REDIS_SENTINEL_PASSWORD_FILE"]] == ("sentinel-account", "sentinel-password")
    assert secrets[given["REDIS_PASSWORD_FILE"]] == ("redis-account", "eventsvc-password")


def test_helm_test_asks_the_sentinels_too() -> None:
    pod = the(render(overlay=SENTINELS), "Pod", "event-test")
    (source,) = pod["spec"]["containers"][0]["envFrom"]
    assert source["configMapRef"]["name"] == "event-consumer"
    assert ("sentinel-account", "sentinel-password") in files(pod).values()


def test_no_password_of_sentinels_is_mounted_that_nobody_asks() -> None:
    objects = render(EXTERNAL | {"externalRedis.sentinelUsername": "a"})
    assert not [name for name in settings(objects, "event-producer") if "SENTINEL" in name]


def test_half_of_a_move_parts_the_roles() -> None:
    """Producers write to the new Redis while consumers empty the old one, each with its own password."""
    objects = render(overlay=MOVING)
    found = {role: settings(objects, f"event-{role}")["REDIS_HOST"] for role in ("producer", "consumer")}
    assert found == {"producer": "redis.example.org", "consumer": "redis-master"}
    secrets = {
        role: [secret for secret, _ in files(pod_of(the(objects, "Deployment", f"event-{role}"))).values()]
        for role in ("producer", "consumer")
    }
    assert secrets == {"producer": ["redis-account"], "consumer": ["redis"]}
    assert the(objects, "StatefulSet", "redis-master")
    assert not [each for each in objects if each["metadata"]["name"] == "event-test"], "it would read the wrong Redis"


def test_the_volume_is_kept_unless_it_is_told_otherwise() -> None:
    for keep, policy in ((None, "Retain"), (False, "Delete")):
        values = {} if keep is None else {"redis.persistence.keep": keep}
        spec = the(render(values), "StatefulSet", "redis-master")["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == policy


# Network policies


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        (EXTERNAL, {6379}),
        (EXTERNAL | {"externalRedis.port": 6380}, {6380}),
        (
            {"redis.enabled": False, "externalRedis.sentinels": ["a:26379", "b:26379", "[::1]:5000"]},
            {6379, 26379, 5000},
        ),
    ],
)
@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_a_role_reaches_redis_and_its_sentinels(role: str, values: dict[str, Any], ports: set[int]) -> None:
    egress = the(render(values | {"networkPolicy.enabled": True}), "NetworkPolicy", f"event-{role}")["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"]} - {53, 5353} == ports


@pytest.mark.parametrize("role", ["producer", "consumer", "simulator"])
def test_names_are_asked_where_they_are_known(role: str) -> None:
    """OpenShift's DNS pods listen on 5353; caches on a node have addresses of the link."""
    values = {"networkPolicy.enabled": True, "simulator.enabled": True}
    rule = the(render(values), "NetworkPolicy", f"event-{role}")["spec"]["egress"][0]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        (protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)
    }
    assert "kube-system" in str(rule["to"])
    assert "openshift-dns" in str(rule["to"])
    assert {"ipBlock": {"cidr": "169.254.0.0/16"}} in rule["to"]
    anywhere = the(render(values | {"networkPolicy.dns": []}), "NetworkPolicy", f"event-{role}")["spec"]["egress"][0]
    assert "to" not in anywhere


@pytest.mark.parametrize(("replicas", "ports"), [(1, {6379}), (3, {6379, 6380, 26379})])
def test_a_pod_of_redis_is_reached_by_its_roles_and_reaches_its_like(replicas: int, ports: set[int]) -> None:
    values = {"networkPolicy.enabled": True, "redis.replicas": replicas}
    objects = render(values)
    spec = the(objects, "NetworkPolicy", "redis")["spec"]
    (rule,) = spec["ingress"]
    labels = [each["podSelector"]["matchLabels"] for each in rule["from"]]
    assert {each.get("app", each.get("app.kubernetes.io/name")) for each in labels} == {
        *("event-producer", "event-consumer", "event-test", "redis")
    }
    assert {port["port"] for port in rule["ports"]} == ports
    if replicas == 1:
        assert spec["egress"] == []
    else:
        names, own = spec["egress"]
        assert {port["port"] for port in names["ports"]} == {53, 5353}
        assert own["to"] == [{"podSelector": {"matchLabels": labels[-1]}}]
        assert {port["port"] for port in own["ports"]} == ports
    for role in ("producer", "consumer"):
        egress = the(objects, "NetworkPolicy", f"event-{role}")["spec"]["egress"]
        assert {port["port"] for port in egress[1]["ports"]} == ports


# What cannot be meant


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"externalRedis.host": "elsewhere"}, "redis.enabled and externalRedis.host (or .sentinels) are both set:"),
        ({"externalRedis.sentinels": ["a:1"]}, "redis.enabled and externalRedis.host (or .sentinels) are both set:"),
        ({"externalRedis": {"host": "x", "moved": "all"}}, "are both set:"),
        ({"redis.enabled": False}, "There is no Redis:"),
        (EXTERNAL | {"externalRedis.sentinels": ["a:1"]}, "externalRedis.host and externalRedis.sentinels are both"),
        (EXTERNAL | {"externalRedis.sentinelExistingSecret": "a"}, "externalRedis.sentinelExistingSecret is set"),
        ({"externalRedis.moved": "producers"}, "externalRedis.moved is producers, which is half of a move:"),
        (EXTERNAL | {"externalRedis.moved": "producers"}, "externalRedis.moved is producers, which is half of a move:"),
        (
            {"externalRedis": {"host": "x", "password": "y", "moved": "producers"}},
            "externalRedis.password is set during a move:",
        ),
        (EXTERNAL | {"externalRedis.password": "a", "externalRedis.existingSecret": "b"}, "externalRedis.password and"),
        ({"redis.extraConfig": "maxmemory 1gb"}, "redis.extraConfig has maxmemory: use redis.maxmemory"),
        ({"redis.extraConfig": "timeout 0\n  RequirePass x"}, "redis.extraConfig has RequirePass: use redis.auth"),
        ({"redis.extraConfig": "aclfile /data/users"}, "redis.extraConfig has aclfile: use lines that begin with user"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(values: Any, sentence: str) -> None:
    assert sentence in refusal(values)


def test_a_line_that_only_begins_like_another_is_let_through() -> None:
    assert render({"redis.extraConfig": "maxmemory-samples 5\n# maxmemory 1gb"})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (EXTERNAL | {"externalRedis.moved": True}, "externalRedis.moved"),
        ({"externalRedis.sentinels": "a:1"}, "externalRedis.sentinels"),
        ({"externalRedis.sentinels": ["a"]}, "externalRedis.sentinels.0"),
        ({"externalRedis.sentinels": ["redis://a:1"]}, "externalRedis.sentinels.0"),
        ({"externalRedis.sentinelService": ""}, "externalRedis.sentinelService"),
        ({"externalRedis.existingSecretKey": "a/b"}, "externalRedis.existingSecretKey"),
        ({"networkPolicy.dns": "kube-system"}, "networkPolicy.dns"),
        ({"redis.sentinel.downAfterMilliseconds": 1000}, "redis.sentinel.downAfterMilliseconds"),
    ],
)
def test_a_typing_error_is_refused_by_its_name(values: Any, named: str) -> None:
    assert named in refusal(values).replace("/", ".")


# Memory


@pytest.mark.parametrize(
    ("maxmemory", "limit", "refused"),
    [
        ("256mb", "640Mi", False),
        ("256mb", "512Mi", False),
        ("256mb", "256Mi", True),
        ("256mb", "300Mi", True),
        ("1gb", "1Gi", True),
        ("1g", "1Gi", True),
        ("2gb", "5Gi", False),
        ("2gb", "2G", True),
        ("268435456", "640Mi", False),
        ("700mb", "640Mi", True),
        ("256mb", 671088640, False),
        ("256mb", 268435456, True),
        ("256mb", "1e9", False),
        ("256mb", "0.25Gi", True),
        ("256mb", "1.5Gi", False),
        ("500kb", "128Mi", False),
        ("100b", "128Mi", False),
        ("0", "640Mi", True),
    ],
)
def test_redis_refuses_events_before_kubernetes_kills_it(maxmemory: str, limit: Any, refused: bool) -> None:
    values = {"redis.maxmemory": maxmemory, "redis.resources": {"limits": {"memory": limit}}}
    if refused:
        assert f"redis.maxmemory is {maxmemory}, and redis.resources.limits.memory is" in refusal(values)
    else:
        assert render(values)


def test_a_redis_without_a_limit_has_none_to_keep() -> None:
    assert render({"redis.maxmemory": "8gb", "redis.resources.limits.memory": None})
    assert render({"redis.maxmemory": "8gb", "redis.resources.limits": None})
    assert render(EXTERNAL | {"redis.maxmemory": "8gb"}), "there is no Redis of the release's own"
