"""
Tests the exporter of Redis' own figures: its user, its password, and who reaches it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from chaos.suites import wait_until
from tests.support.helm import Object, picks, pod_of, refusal, render, the
from tests.support.redis_pod import RedisPod, config_of, running_redis_pod, secret_of
from tests.support.server_binaries import find_binary

ON = {"redis.exporter.enabled": True}
TLS = {"redis.tls": {"enabled": True, "existingSecret": "certificate"}}
KEY = "exporter-password"
SECRET = {"redis-password": "operator", "eventsvc-password": "ours", KEY: "figures"}

FORBIDDEN = [
    *("XRANGE NotificationStream - +", "XREAD STREAMS NotificationStream 0", "XINFO STREAM NotificationStream FULL"),
    *("GET a", "SCAN 0", "KEYS *", "DUMP NotificationStream", "EVAL return(1) 0", "SORT a", "MONITOR", "SYNC"),
    # What slow commands were given are events, and this is the password of the default user.
    *("SLOWLOG GET 1", "CONFIG GET masterauth", "ACL LIST", "ACL GETUSER default", "SUBSCRIBE a"),
    *("CLIENT LIST", "CLIENT KILL TYPE normal", "FLUSHALL", "SHUTDOWN", "XADD NotificationStream * a b"),
]


@pytest.fixture
def pod(binary: str, tmp_path: Path) -> Iterator[RedisPod]:
    with running_redis_pod(binary, tmp_path / "pod", SECRET, ON, key="eventsvc-password") as pod:
        yield pod


def exporter(values: Any) -> Object:
    """Return the container of the exporter."""
    containers = pod_of(the(render(values), "StatefulSet", "redis-master"))["spec"]["containers"]
    (found,) = [each for each in containers if each["name"] == "exporter"]
    return dict(found)


# Rights


def test_its_user_reads_figures(pod: RedisPod) -> None:
    with pod.client("exporter", "figures") as client:
        assert client.execute_command("CLIENT", "SETNAME", "redis_exporter")
        assert {"used_memory", "aof_last_write_status"} <= client.info("all").keys()
        assert client.execute_command("SLOWLOG", "LEN") == 0


def test_its_user_reads_no_event_and_no_password(pod: RedisPod) -> None:
    with pod.client("eventsvc", "ours") as client:
        client.xadd("NotificationStream", {"event": "a secret"})
    with pod.client("exporter", "figures") as client:
        assert [command for command in FORBIDDEN if not _refuses(client, command)] == []


def _refuses(client: Any, command: str) -> bool:
    try:
        client.execute_command(*command.split())
    except redis.exceptions.NoPermissionError:
        return True
    return False


def test_no_sentinel_has_this_user() -> None:
    names = config_of({**ON, "redis.replicas": 3})
    assert [name for name in names if name.startswith("exporter-")] == ["exporter-rights"]


def test_without_the_exporter_there_is_no_such_user(tmp_path: Path) -> None:
    """Not even if its password is still in the Secret."""
    with running_redis_pod(find_binary("valkey-9"), tmp_path / "pod", SECRET) as pod:
        assert not pod.admits("exporter", "figures")


def test_without_a_password_it_is_let_in_by_none(tmp_path: Path) -> None:
    secret = {"redis-password": "operator"}
    with running_redis_pod(find_binary("valkey-9"), tmp_path / "pod", secret, ON) as pod:
        assert pod.admits("default", "operator")
        for password in ("", "operator", "figures"):
            assert not pod.admits("exporter", password)
        pod.put("secret", secret | {KEY: "figures"})
        wait_until(lambda: _reads(pod))


def test_its_password_outlives_a_change_of_the_others(pod: RedisPod) -> None:
    with pod.client("exporter", "figures") as client:
        client.info()
        pod.put("secret", {"redis-password": "operator 2", "eventsvc-password": "ours 2", KEY: "figures"})
        wait_until(lambda: pod.admits("eventsvc", "ours 2"))
        assert client.info(), "on the connection from before"
    assert _reads(pod)


def _reads(pod: RedisPod) -> bool:
    try:
        with pod.client("exporter", "figures") as client:
            return bool(client.info())
    except (redis.AuthenticationError, redis.ResponseError):
        return False


# Passwords


def _found(name: str, **passwords: str) -> dict[str, Any]:
    data = {key.replace("_", "-"): b64encode(text.encode()).decode() for key, text in passwords.items()}
    return {
        "global": {"found": {"Secret": {name: {"metadata": {"annotations": {"eventsvc/rotation": "0"}}, "data": data}}}}
    }


def test_the_password_is_made_once_and_not_changed_with_the_others(chart: Path) -> None:
    kept = _found("redis", redis_password="operator", exporter_password="figures")
    data = the(render({**ON, **kept, "redis.auth.rotation": 7}, chart=chart), "Secret", "redis")["data"]
    assert data[KEY] == b64encode(b"figures").decode()
    assert "redis-password-previous" in data
    assert f"{KEY}-previous" not in data


def test_a_release_gets_the_password_with_the_exporter(chart: Path) -> None:
    kept = _found("redis", redis_password="operator", eventsvc_password="ours")
    data = the(render({**ON, **kept}, chart=chart), "Secret", "redis")["data"]
    assert (data["redis-password"], len(data[KEY])) == (b64encode(b"operator").decode(), 44)
    assert KEY not in secret_of()
    assert len({*secret_of(ON).values()}) == 3


def test_a_secret_of_ones_own_without_the_password_is_refused_with_a_sentence(chart: Path) -> None:
    own = {**ON, "redis.auth.existingSecret": "mine"}
    sentence = "the Secret mine (redis.auth.existingSecret) lacks the key exporter-password:"
    assert f"redis.exporter.enabled is set, but {sentence}" in refusal(
        {**own, **_found("mine", redis_password="a")}, chart=chart
    )
    assert render({**own, **_found("mine", redis_password="a", exporter_password="b")}, chart=chart)
    assert _source(exporter(own)) == {"name": "mine", "key": KEY, "optional": True}, "nobody knows what is in it"


def _source(container: Object) -> Any:
    (found,) = [each for each in container["env"] if each["name"] == "REDIS_PASSWORD"]
    return found["valueFrom"]["secretKeyRef"]


# The container


def test_it_asks_its_own_redis_alone() -> None:
    given = {each["name"]: each.get("value") for each in exporter(ON)["env"]}
    assert given["REDIS_ADDR"] == "redis://127.0.0.1:6379"
    assert given["REDIS_EXPORTER_DISABLE_SCRAPE_ENDPOINT"] == "true"
    assert given["REDIS_EXPORTER_CONFIG_COMMAND"] == "-"


@pytest.mark.parametrize("replicas", [1, 3])
def test_with_tls_it_asks_by_a_name_of_the_certificate_and_has_no_key(replicas: int) -> None:
    values = {**ON, **TLS, "redis.replicas": replicas, "fullnameOverride": "second"}
    (stateful,) = [each for each in render(values) if each["kind"] == "StatefulSet"]
    spec = stateful["spec"]["template"]["spec"]
    (container,) = [each for each in spec["containers"] if each["name"] == "exporter"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["REDIS_ADDR"] == "rediss://second-redis-master:6379"
    assert spec["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["second-redis-master"]}]
    (mount,) = container["volumeMounts"]
    assert given["REDIS_EXPORTER_TLS_CA_CERT_FILE"] == f"{mount['mountPath']}/ca.crt"
    (volume,) = [each for each in spec["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"] == {"secretName": "certificate", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


def test_prometheus_finds_each_pod() -> None:
    objects = render({**ON, "monitoring.serviceMonitor.enabled": True})
    service, monitor = the(objects, "Service", "redis-exporter"), the(objects, "ServiceMonitor", "eventsvc")
    assert picks(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    labels = pod_of(the(objects, "StatefulSet", "redis-master"))["metadata"]["labels"]
    assert picks(service["spec"]["selector"], labels)
    (port,), (own,) = service["spec"]["ports"], exporter(ON)["ports"]
    assert (port["name"], port["targetPort"], own["containerPort"]) == ("metrics", own["name"], port["port"])
    assert port["name"] in [each["port"] for each in monitor["spec"]["endpoints"]]


def test_monitoring_reaches_the_figures_alone() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}]
    policy = {"networkPolicy.enabled": True, "networkPolicy.monitoring": peers}
    rules = the(render({**ON, **policy}), "NetworkPolicy", "redis")["spec"]["ingress"]
    assert [rule["ports"] for rule in rules if rule["from"] == peers] == [[{"protocol": "TCP", "port": 9121}]]
    assert "9121" not in json.dumps(the(render(policy), "NetworkPolicy", "redis"))


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert "exporter" not in [name.partition("-")[2] for name in config_of()]
    assert not [each for each in render() if each["metadata"]["name"] == "redis-exporter"]
    external = {**ON, "redis.enabled": False, "externalRedis.host": "elsewhere"}
    assert not [each for each in render(external) if "redis" in each["metadata"]["name"]]
