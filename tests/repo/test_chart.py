"""
Tests for the chart that need no cluster.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from pathlib import Path
from shutil import copytree
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from eventsvc import __version__
from eventsvc.settings import ROLES
from eventsvc.settings.reading import read, rows
from tests.support.alerts import rules
from tests.support.custom_resources import SCHEMAS
from tests.support.helm import (
    CHART,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Object,
    helm,
    picks,
    pod_of,
    pods,
    refusal,
    render,
    selectors,
    the,
)

#: Settings that the chart itself sees to.
SET_BY_CHART = {
    *("REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS", "REDIS_TLS_CA"),
    *("REDIS_SENTINELS", "REDIS_SENTINEL_SERVICE", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD"),
    *("REST_SERVER_PORT", "ADMIN_PORT", "REDIS_CONSUMER", "REDIS_STREAMS"),
    *("REST_SERVER_TOKENS", "REST_SERVER_TLS_CERT", "REST_SERVER_TLS_KEY", "REST_SERVER_TLS_CLIENT_CA"),
    *("EVENT_PRODUCER_TOKEN", "EVENT_PRODUCER_TLS_CA"),
}

#: Settings for runs that end: the Deployment of the simulator goes on for ever, and has no way to Redis.
OF_RUNS = {
    "simulator": {
        *("SIMULATOR_THRESHOLD", "SIMULATOR_SAVE", "SIMULATOR_FOLLOW"),
        *("REDIS_STREAM", "REDIS_CONSUMER_GROUP", "REDIS_RETRY_PERIOD"),
    }
}

#: Roles that the chart does not deploy. A dashboard shows all events to whoever reaches it, and has no login: it runs
#: beside the browser, over a port-forward to Redis, as docs/kubernetes.md says.
NOT_DEPLOYED = {"dashboard"}

#: Settings that name a file of a Secret.
SECRET_FILES = {
    "REDIS_PASSWORD_FILE",
    "REDIS_SENTINEL_PASSWORD_FILE",
    "WEBHOOK_SECRET_FILE",
    "EVENT_PRODUCER_TOKEN_FILE",
}

#: Values with members of their own, which are those of Kubernetes or of the settings.
FREE = {
    *("settings", "resources", "podSecurityContext", "securityContext", "strategy", "behavior"),
    *("startupProbe", "livenessProbe", "readinessProbe"),
}

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)


@overlays
def test_helm_finds_no_fault(overlay: Path) -> None:
    done = helm("lint", "--strict", f"--kube-version={KUBERNETES}", str(CHART), f"--values={overlay}")
    assert done.returncode == 0, done.stdout


@overlays
def test_every_object_is_valid(overlay: Path) -> None:
    for each in render(overlay=overlay):
        if each["kind"] in SCHEMAS:
            jsonschema.validate(each, SCHEMAS[each["kind"]])
        else:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_names_are_those_that_others_use() -> None:
    objects = render({"simulator.enabled": True})
    service = the(objects, "Service", "event-producer-svc")
    assert [port["port"] for port in service["spec"]["ports"]] == [8080]
    assert [port["port"] for port in the(objects, "Service", "redis-master")["spec"]["ports"]] == [6379]
    assert base64.b64decode(the(objects, "Secret", "redis")["data"]["redis-password"]).isalnum()
    for kind, name, labels in (
        ("Deployment", "event-producer", {"app": "event-producer"}),
        ("Deployment", "event-consumer", {"app": "event-consumer"}),
        ("Deployment", "event-simulator", {"app": "event-simulator"}),
        ("StatefulSet", "redis-master", {"app.kubernetes.io/name": "redis", "app.kubernetes.io/component": "master"}),
    ):
        assert picks(labels, pod_of(the(objects, kind, name))["metadata"]["labels"])


def test_a_second_release_shares_nothing_with_the_first() -> None:
    first = render(overlay=CHART / "ci" / "everything.yaml")
    second = render(overlay=CHART / "ci" / "second-release.yaml", release="demo-2")
    assert not _names(first) & _names(second)
    for mine, other in ((first, second), (second, first)):
        for name, selector in selectors(mine).items():
            assert not any(picks(selector, pod["metadata"]["labels"]) for pod in pods(other)), name
    for app in ("event-producer", "event-consumer", "event-simulator", "redis"):
        for pod in pods(second):
            assert app not in pod["metadata"]["labels"].values()


def _names(objects: list[Object]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


def test_no_object_is_there_twice() -> None:
    for overlay in OVERLAYS:
        names = Counter((each["kind"], each["metadata"]["name"]) for each in render(overlay=overlay))
        assert names.most_common(1)[0][1] == 1


def test_selectors_never_change() -> None:
    """Kubernetes refuses an upgrade that changes a selector."""
    known = selectors(render(overlay=CHART / "ci" / "everything.yaml"))
    for overlay in OVERLAYS:
        if overlay.stem != "second-release":
            assert selectors(render(overlay=overlay)).items() <= known.items()


def test_an_upgrade_of_the_chart_leaves_redis_alone(tmp_path: Path) -> None:
    newer = copytree(CHART, tmp_path / "eventsvc")
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(text.replace(f"ersion: {__version__}", "ersion: 99.1.0"))
    now, then = (the(render(chart=chart), "StatefulSet", "redis-master") for chart in (CHART, newer))
    assert now["metadata"]["labels"] != then["metadata"]["labels"]
    assert now["spec"] == then["spec"]


@overlays
def test_every_pod_is_restricted(overlay: Path) -> None:
    for pod in pods(render(overlay=overlay)):
        spec = pod["spec"]
        is_test = "helm.sh/hook" in pod["metadata"].get("annotations", {})
        assert spec["automountServiceAccountToken"] is is_test
        assert spec["enableServiceLinks"] is False, "a Service called redis would set REDIS_PORT"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["memory"]


@overlays
def test_no_variable_is_set_twice(overlay: Path) -> None:
    objects = render(overlay=overlay)
    for pod in pods(objects):
        for container in pod["spec"]["containers"]:
            assert not [name for name, count in Counter(_variables(objects, container)).items() if count > 1]


def _variables(objects: list[Object], container: Object) -> list[str]:
    names = [each["name"] for each in container.get("env", [])]
    for source in container.get("envFrom", []):
        names += the(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return names


@overlays
def test_the_services_understand_their_settings(overlay: Path) -> None:
    for role, values in _settings(render(overlay=overlay)).items():
        for cls in ROLES[role]:
            read(cls, values)
        known = {row.name for _, row in rows(*ROLES[role])}
        assert values.keys() <= known


def _settings(objects: list[Object]) -> dict[str, dict[str, str]]:
    """Return the ConfigMap of each enabled role; the secrets are not in it."""
    found = {}
    for each in objects:
        role = each["metadata"]["name"].rpartition("event-")[2]
        if each["kind"] == "ConfigMap" and role in ROLES:
            found[role] = {name: text for name, text in each["data"].items() if name not in SECRET_FILES}
    return found


def test_a_role_beats_what_is_said_of_all() -> None:
    settings = _settings(render({"settings.LOG_LEVEL": "WARN", "consumer.settings.LOG_LEVEL": "DEBUG"}))
    assert (settings["producer"]["LOG_LEVEL"], settings["consumer"]["LOG_LEVEL"]) == ("WARN", "DEBUG")


@pytest.mark.parametrize("role", sorted(ROLES.keys() - NOT_DEPLOYED))
def test_the_values_know_every_setting(role: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(schema["properties"][role]["properties"]["settings"]["properties"])
    settings = {row.name for _, row in rows(*ROLES[role])} - SET_BY_CHART - OF_RUNS.get(role, set())
    place = f"charts/eventsvc/values.schema.json, properties.{role}.properties.settings.properties"
    assert known == settings, (
        f"{place}: add {sorted(settings - known)}, remove {sorted(known - settings)}; "
        "what the chart itself sets goes into SET_BY_CHART here"
    )


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    described, given = set(_schema_paths(schema, schema)) - {"global"}, set(_value_paths(values, schema))
    assert described == given, (
        f"charts/eventsvc/values.schema.json alone has {sorted(described - given)}, "
        f"charts/eventsvc/values.yaml alone {sorted(given - described)}"
    )


def _schema_paths(node: Any, schema: Any) -> list[str]:
    if "$ref" in node:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]]
    found = []
    for name, below in node.get("properties", {}).items():
        found.append(name)
        if name not in FREE:
            found += [f"{name}.{path}" for path in _schema_paths(below, schema)]
    return found


def _value_paths(values: Any, schema: Any, at: str = "") -> list[str]:
    found = []
    for name, below in values.items():
        found.append(f"{at}{name}")
        if isinstance(below, dict) and name not in FREE:
            found += _value_paths(below, schema, f"{at}{name}.")
    return found


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": 3}, "replicas"),
        ({"producer.replica": 3}, "replica"),
        ({"producer.settings.REDIS_WRITE_TIMOUT": 3}, "REDIS_WRITE_TIMOUT"),
        ({"producer.settings.REDIS_HOST": "elsewhere"}, "REDIS_HOST"),
        ({"consumer.replicas": "two"}, "replicas"),
        ({"redis.appendfsync": "never"}, "appendfsync"),
        ({"fullnameOverride": "Second!"}, "fullnameOverride"),
    ],
)
def test_a_typing_error_is_refused_by_its_name(values: Any, named: str) -> None:
    assert named in refusal(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"producer.enabled": False, "simulator.enabled": True}, "The simulator has no producer"),
        ({"consumer.extraEnv": [{"name": "REDIS_HOST", "value": "x"}]}, "consumer.extraEnv has REDIS_HOST"),
        ({"consumer.extraEnv": [{"name": "REDIS_CONSUMER", "value": "x"}]}, "consumer.extraEnv has REDIS_CONSUMER"),
        ({"producer.extraEnv": [{"name": "REDIS_PORT", "value": "x"}]}, "producer.extraEnv has REDIS_PORT"),
        ({"consumer.keda": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}}, "consumer.keda.minReplicas is"),
        ({"consumer.keda.enabled": True, "producer.enabled": False}, "there is no producer to ask"),
        ({"consumer.keda.enabled": True, "consumer.settings.REDIS_STREAM": "Orders"}, "do not know the stream Orders"),
        ({"consumer.keda.enabled": True, "producer.settings.REDIS_CONSUMER_GROUP": "g"}, "how far another group is"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(values: Any, sentence: str) -> None:
    assert sentence in refusal(values)


@pytest.mark.parametrize(("request_timeout", "drain"), [(10, 10), (60.5, 300)])
def test_a_pod_has_more_time_than_its_drain_takes(request_timeout: float, drain: float) -> None:
    objects = render(
        {
            "producer.settings": {"REST_SERVER_WRITE_TIMEOUT": request_timeout},
            "consumer.settings": {"CONSUMER_DRAIN_TIMEOUT": drain},
        }
    )
    producer, consumer = (
        pod_of(the(objects, "Deployment", f"event-{role}"))["spec"] for role in ("producer", "consumer")
    )
    pause = int(producer["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])
    assert producer["terminationGracePeriodSeconds"] >= pause + request_timeout + 5 + 5
    assert consumer["terminationGracePeriodSeconds"] >= drain + 5


def test_a_changed_setting_restarts_the_pods_that_read_it_and_no_others() -> None:
    before = _checksums(render({"redis.auth.password": "a"}))
    assert _checksums(render({"redis.auth.password": "a"})) == before
    after = _checksums(render({"redis.auth.password": "a", "consumer.settings": {"CONSUMER_CONCURRENCY": 2}}))
    assert {name for name in before if before[name] != after[name]} == {"event-consumer"}
    roles = {"event-producer", "event-consumer"}
    for values, restarted in (
        ({"redis.auth.password": "b"}, set()),
        ({"redis.auth.eventsvcPassword": "b"}, roles),
        ({"redis.auth.rotation": 1}, roles),
    ):
        after = _checksums(render({"redis.auth.password": "a"} | values))
        assert {name for name in before if before[name] != after[name]} == restarted


def _checksums(objects: list[Object]) -> dict[str, str]:
    return {
        each["metadata"]["name"]: pod_of(each)["metadata"]["annotations"]["checksum/config"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
    }


def test_a_consumer_is_called_as_its_pod() -> None:
    container = pod_of(the(render(), "Deployment", "event-consumer"))["spec"]["containers"][0]
    assert {"name": "REDIS_CONSUMER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in container["env"]


def test_a_secret_that_is_there_already_is_used_and_none_is_made() -> None:
    objects = render(overlay=CHART / "ci" / "existing-secret.yaml")
    assert not [each for each in objects if each["kind"] == "Secret"]
    for name in ("event-producer", "event-consumer"):
        (volume,) = pod_of(the(objects, "Deployment", name))["spec"]["volumes"]
        assert volume["secret"]["secretName"] == "redis-account"


def test_the_secret_of_webhooks_is_a_file_of_the_consumer_alone() -> None:
    objects = render({"consumer.webhook.existingSecret": "orders", "consumer.webhook.secretKey": "signing"})
    pod = pod_of(the(objects, "Deployment", "event-consumer"))["spec"]
    (secret,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "webhook"]
    assert secret == {"secretName": "orders", "items": [{"key": "signing", "path": "webhook-secret"}]}
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "webhook"]
    path = the(objects, "ConfigMap", "event-consumer")["data"]["WEBHOOK_SECRET_FILE"]
    assert path == f"{mount['mountPath']}/webhook-secret"
    assert "webhook" not in json.dumps(pod_of(the(objects, "Deployment", "event-producer")))


def test_another_redis_is_reached_by_tls_as_an_acl_user() -> None:
    objects = render(overlay=CHART / "ci" / "external-redis.yaml")
    assert not [each for each in objects if "redis-master" in each["metadata"]["name"]]
    for settings in _settings(objects).values():
        assert settings.items() >= {
            ("REDIS_HOST", "redis.example.org"),
            ("REDIS_USERNAME", "eventsvc"),
            ("REDIS_TLS", "on"),
            ("REDIS_TLS_CA", "/etc/eventsvc/redis-ca/ca.crt"),
        }


def test_what_scales_by_itself_is_not_scaled_by_an_upgrade() -> None:
    objects = render(overlay=CHART / "ci" / "everything.yaml")
    for name in ("event-producer", "event-consumer"):
        assert "replicas" not in the(objects, "Deployment", name)["spec"]


@pytest.mark.parametrize(("keys", "bound"), [(2_000_000, 2_000_000), ("50000", 50_000), (None, 1_000_000)])
def test_the_alert_for_keys_knows_their_limit(keys: Any, bound: int) -> None:
    own = {} if keys is None else {"IDEMPOTENCY_MAX_KEYS": keys}
    made = rules({"monitoring.prometheusRule.enabled": True, "producer.settings": own})
    (rule,) = [rule for rule in made if rule["alert"] == "ManyIdempotencyKeys"]
    assert rule["expr"].endswith(f"> 0.9 * {bound}")


def test_the_test_may_read_logs_and_nothing_else() -> None:
    objects = render()
    assert the(objects, "Role", "event-test")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    assert not [each for each in objects if each["kind"].startswith("Cluster")]


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    for pod in pods(render()):
        for container in pod["spec"]["containers"]:
            assert container["image"] in (
                *(f"localhost/eventsvc{name}:{__version__}" for name in ("", "-robot")),
                "localhost/eventsvc-redis:2",
            )


def test_the_picture_in_the_docs_shows_what_there_is() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs" / "kubernetes.md").read_text(), re.S)
    shown = set(re.findall(r"(Service|Deployment|StatefulSet|Secret) ([a-z-]+)", picture))
    kinds = {kind for kind, _ in shown}
    assert shown == {each for each in _names(render({"simulator.enabled": True})) if each[0] in kinds}


def test_the_values_in_the_docs_are_values_of_the_chart(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "kubernetes.md").read_text(), re.S)
    assert blocks
    for number, block in enumerate(blocks):
        values = tmp_path / f"{number}.yaml"
        values.write_text(block)
        assert render(overlay=values)
