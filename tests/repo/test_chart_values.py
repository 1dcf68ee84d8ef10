"""
Tests that each value of the chart does something: set to another value, it
changes what is rendered, at the place it is meant for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs
import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.helm import CHART, Object, render
from tools.chart_values import values

VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text())
DIGEST: Final = f"sha256:{'5' * 64}"


@attrs.frozen
class Row:
    """
    Another value, and where it is seen: the object as C{Kind/name}, and a part of
    its JSON, which is there only with that value.
    """

    value: Any
    where: str
    seen: str


def _of_role(role: str) -> Mapping[str, Row]:
    """Return the rows that the roles have in common."""
    at = f"Deployment/event-{role}"
    env = [{"name": "X_EXTRA", "value": "seen"}]
    account = f"ServiceAccount/event-{role}"
    rows = {
        "settings": Row({"LOG_LEVEL": "DEBUG"}, f"ConfigMap/event-{role}", '"LOG_LEVEL":"DEBUG"'),
        "replicas": Row(7, at, '"replicas":7'),
        "extraEnv": Row(env, at, '{"name":"X_EXTRA","value":"seen"}'),
        "extraEnvFrom": Row([{"secretRef": {"name": "more"}}], at, '{"secretRef":{"name":"more"}}'),
        "extraVolumes": Row([{"name": "v", "emptyDir": {}}], at, '{"emptyDir":{},"name":"v"}'),
        "extraVolumeMounts": Row([{"name": "v", "mountPath": "/v"}], at, '{"mountPath":"/v","name":"v"}'),
        "initContainers": Row([{"name": "i", "image": "i"}], at, '"initContainers":[{"image":"i","name":"i"}]'),
        "extraContainers": Row([{"name": "c", "image": "c"}], at, '{"image":"c","name":"c"}'),
        "resources": Row({"limits": {"memory": "99Mi"}}, at, '"limits":{"memory":"99Mi"}'),
        "podAnnotations": Row({"x/note": "seen"}, at, '"x/note":"seen"'),
        "podLabels": Row({"x/label": "seen"}, at, '"x/label":"seen"'),
        "nodeSelector": Row({"x": "seen"}, at, '"nodeSelector":{"x":"seen"}'),
        "tolerations": Row([{"key": "x"}], at, '"tolerations":[{"key":"x"}]'),
        "affinity": Row({"podAffinity": {}}, at, '"affinity":{"podAffinity":{}}'),
        "priorityClassName": Row("high", at, '"priorityClassName":"high"'),
        "topologySpreadConstraints": Row([{"topologyKey": "zone"}], at, '"topologyKey":"zone"'),
        "terminationGracePeriodSeconds": Row(77, at, '"terminationGracePeriodSeconds":77'),
        "revisionHistoryLimit": Row(3, at, '"revisionHistoryLimit":3'),
        "startupProbe": Row({"failureThreshold": 99}, at, '"startupProbe":{"failureThreshold":99'),
        "livenessProbe": Row({"failureThreshold": 99}, at, '"livenessProbe":{"failureThreshold":99'),
        "readinessProbe": Row({"failureThreshold": 99}, at, '"readinessProbe":{"failureThreshold":99'),
        "strategy": Row({"rollingUpdate": {"maxSurge": 9}}, at, '"strategy":{"rollingUpdate":{"maxSurge":9'),
        "serviceAccount.create": Row(True, at, f'"serviceAccountName":"event-{role}"'),
        "serviceAccount.name": Row("other", at, '"serviceAccountName":"other"'),
        "serviceAccount.annotations": Row({"x": "seen"}, account, '"annotations":{"x":"seen"}'),
        "enabled": Row(False, at, ""),
    }
    return {f"{role}.{name}": row for name, row in rows.items()}


PRODUCER: Final = "Deployment/event-producer"
CONSUMER: Final = "Deployment/event-consumer"
SERVICE: Final = "Service/event-producer-svc"
HPA: Final = "HorizontalPodAutoscaler/event-producer"
INGRESS: Final = "Ingress/event-producer"
ROUTE: Final = "HTTPRoute/event-producer"
KEDA: Final = "ScaledObject/event-consumer"
REDIS: Final = "StatefulSet/redis-master"
CONFIG: Final = "ConfigMap/redis"
TEST: Final = "Pod/event-test"
MONITOR: Final = "ServiceMonitor/eventsvc"
RULE: Final = "PrometheusRule/eventsvc"
DASHBOARD: Final = "ConfigMap/eventsvc-dashboard"

#: Any other value of each value of the chart.
ROWS: Final[Mapping[str, Row]] = {
    **_of_role("producer"),
    **_of_role("consumer"),
    **_of_role("simulator"),
    "fullnameOverride": Row("second", "Deployment/second-event-producer", '"app":"second-event-producer"'),
    "image.repository": Row("x/y", PRODUCER, '"image":"x/y:0.1.0"'),
    "image.tag": Row("9", CONSUMER, '"image":"localhost/eventsvc:9"'),
    "image.digest": Row(DIGEST, PRODUCER, f'"image":"localhost/eventsvc@{DIGEST}"'),
    "image.pullPolicy": Row("Always", CONSUMER, '"imagePullPolicy":"Always"'),
    "imagePullSecrets": Row([{"name": "x"}], REDIS, '"imagePullSecrets":[{"name":"x"}]'),
    "settings": Row({"REDIS_STREAM": "Orders"}, "ConfigMap/event-consumer", '"REDIS_STREAM":"Orders"'),
    "producer.streams": Row(["Orders"], "ConfigMap/event-producer", '"REDIS_STREAMS":"Orders,'),
    "producer.tokens.existingSecret": Row("x", PRODUCER, '"secretName":"x"'),
    "producer.tokens.key": Row("rows", PRODUCER, '{"key":"rows","path":"tokens.toml"}'),
    "producer.tls.existingSecret": Row("x", PRODUCER, '"secretName":"x"'),
    "producer.tls.clientCASecret": Row("x", PRODUCER, '"secretName":"x"'),
    "producer.tls.caSecret": Row("x", "Deployment/event-simulator", '"secretName":"x"'),
    "producer.admin.enabled": Row(True, PRODUCER, '"containerPort":8081'),
    "producer.service.type": Row("NodePort", SERVICE, '"type":"NodePort"'),
    "producer.service.annotations": Row({"x": "seen"}, SERVICE, '"annotations":{"x":"seen"}'),
    "producer.ingress.enabled": Row(False, INGRESS, ""),
    "producer.ingress.className": Row("x", INGRESS, '"ingressClassName":"x"'),
    "producer.ingress.hosts": Row(["a.example"], INGRESS, '"host":"a.example"'),
    "producer.ingress.tlsSecret": Row("x", INGRESS, '"secretName":"x"'),
    "producer.ingress.annotations": Row({"x": "seen"}, INGRESS, '"annotations":{"x":"seen"}'),
    "producer.gateway.enabled": Row(False, ROUTE, ""),
    "producer.gateway.parentRefs": Row([{"name": "x"}], ROUTE, '"parentRefs":[{"name":"x"}]'),
    "producer.gateway.hostnames": Row(["a.example"], ROUTE, '"hostnames":["a.example"]'),
    "producer.gateway.annotations": Row({"x": "seen"}, ROUTE, '"annotations":{"x":"seen"}'),
    "producer.lameDuckSeconds": Row(7, PRODUCER, '"sleep":{"seconds":7}'),
    "producer.autoscaling.enabled": Row(False, HPA, ""),
    "producer.autoscaling.minReplicas": Row(4, HPA, '"minReplicas":4'),
    "producer.autoscaling.maxReplicas": Row(20, HPA, '"maxReplicas":20'),
    "producer.autoscaling.targetCPU": Row("700m", HPA, '"averageValue":"700m"'),
    "producer.autoscaling.behavior": Row({"scaleDown": {"selectPolicy": "Disabled"}}, HPA, '"selectPolicy":"Disabled"'),
    "consumer.webhook.existingSecret": Row("x", CONSUMER, '"secretName":"x"'),
    "consumer.webhook.secretKey": Row("x", CONSUMER, '{"key":"x","path":"webhook-secret"}'),
    "consumer.handlers": Row({"mine.py": "seen"}, "ConfigMap/event-consumer-handlers", '"mine.py":"seen"'),
    "consumer.keda.enabled": Row(False, KEDA, ""),
    "consumer.keda.minReplicas": Row(0, KEDA, '"minReplicaCount":0'),
    "consumer.keda.maxReplicas": Row(20, KEDA, '"maxReplicaCount":20'),
    "consumer.keda.targetAgeSeconds": Row(9, KEDA, '"targetValue":"9"'),
    "consumer.keda.pollingSeconds": Row(9, KEDA, '"pollingInterval":9'),
    "consumer.keda.cooldownSeconds": Row(9, KEDA, '"cooldownPeriod":9'),
    "consumer.keda.url": Row("http://x", KEDA, '"url":"http://x'),
    "simulator.tokenSecret": Row("x", "Deployment/event-simulator", '"secretName":"x"'),
    "redis.enabled": Row(False, REDIS, ""),
    "redis.image.repository": Row("x/y", REDIS, '"image":"x/y:2"'),
    "redis.image.tag": Row("9", REDIS, '"image":"localhost/eventsvc-redis:9"'),
    "redis.image.digest": Row(DIGEST, REDIS, f'"image":"localhost/eventsvc-redis@{DIGEST}"'),
    "redis.image.pullPolicy": Row("Always", REDIS, '"imagePullPolicy":"Always"'),
    "redis.replicas": Row(3, REDIS, '"replicas":3'),
    "redis.spread": Row("hard", REDIS, '"requiredDuringSchedulingIgnoredDuringExecution"'),
    "redis.sentinel.downAfterMilliseconds": Row(1500, CONFIG, "down-after-milliseconds 1500"),
    "redis.sentinel.failoverTimeoutMilliseconds": Row(7000, CONFIG, "failover-timeout 7000"),
    "redis.sentinel.resources": Row({"limits": {"memory": "99Mi"}}, REDIS, '"limits":{"memory":"99Mi"}'),
    "redis.tls.enabled": Row(True, "ConfigMap/event-producer", '"REDIS_TLS":"on"'),
    "redis.tls.existingSecret": Row("x", REDIS, '"secretName":"x"'),
    "redis.exporter.enabled": Row(True, REDIS, '"name":"exporter"'),
    "redis.exporter.image.repository": Row("x/z", REDIS, '"image":"x/z:'),
    "redis.exporter.image.tag": Row("8", REDIS, '"image":"oliver006/redis_exporter:8"'),
    "redis.exporter.image.digest": Row(DIGEST, REDIS, f'"image":"oliver006/redis_exporter@{DIGEST}"'),
    "redis.exporter.image.pullPolicy": Row("Always", REDIS, '"imagePullPolicy":"Always","name":"exporter"'),
    "redis.exporter.resources": Row({"limits": {"memory": "98Mi"}}, REDIS, '"limits":{"memory":"98Mi"}'),
    "redis.auth.password": Row("x", "Secret/redis", '"redis-password":"eA=="'),
    "redis.auth.eventsvcPassword": Row("x", "Secret/redis", '"eventsvc-password":"eA=="'),
    "redis.auth.rotation": Row(7, "Secret/redis", '"eventsvc/rotation":"7"'),
    "redis.auth.eventsvcKey": Row("x", PRODUCER, '{"key":"x","path":"redis-password"}'),
    "redis.auth.existingSecret": Row("x", REDIS, '"name":"x"'),
    "redis.maxmemory": Row("99mb", CONFIG, "maxmemory 99mb"),
    "redis.appendfsync": Row("everysec", CONFIG, "appendfsync everysec"),
    "redis.extraConfig": Row("timeout 9", CONFIG, "timeout 9"),
    "redis.persistence.size": Row("9Gi", REDIS, '"storage":"9Gi"'),
    "redis.persistence.storageClass": Row("x", REDIS, '"storageClassName":"x"'),
    "redis.persistence.keep": Row(False, REDIS, '"whenDeleted":"Delete"'),
    "redis.resources": Row({"limits": {"memory": "999Mi"}}, REDIS, '"limits":{"memory":"999Mi"}'),
    "redis.podAnnotations": Row({"x/note": "seen"}, REDIS, '"x/note":"seen"'),
    "redis.podLabels": Row({"x/label": "seen"}, REDIS, '"x/label":"seen"'),
    "redis.nodeSelector": Row({"x": "seen"}, REDIS, '"nodeSelector":{"x":"seen"}'),
    "redis.tolerations": Row([{"key": "x"}], REDIS, '"tolerations":[{"key":"x"}]'),
    "redis.affinity": Row({"podAffinity": {}}, REDIS, '"affinity":{"podAffinity":{}}'),
    "redis.priorityClassName": Row("high", REDIS, '"priorityClassName":"high"'),
    "redis.topologySpreadConstraints": Row([{"topologyKey": "zone"}], REDIS, '"topologyKey":"zone"'),
    "redis.extraVolumes": Row([{"name": "v", "emptyDir": {}}], REDIS, '"emptyDir":{},"name":"v"'),
    "redis.extraVolumeMounts": Row([{"name": "v", "mountPath": "/v"}], REDIS, '"mountPath":"/v","name":"v"'),
    "externalRedis.host": Row("other", "ConfigMap/event-producer", '"REDIS_HOST":"other"'),
    "externalRedis.port": Row(6380, "ConfigMap/event-producer", '"REDIS_PORT":"6380"'),
    "externalRedis.database": Row(3, "ConfigMap/event-consumer", '"REDIS_DB":"3"'),
    "externalRedis.username": Row("x", "ConfigMap/event-producer", '"REDIS_USERNAME":"x"'),
    "externalRedis.password": Row("x", "Secret/redis", '"redis-password":"eA=="'),
    "externalRedis.existingSecret": Row("x", CONSUMER, '"secretName":"x"'),
    "externalRedis.existingSecretKey": Row("x", PRODUCER, '{"key":"x","path":"redis-password"}'),
    "externalRedis.sentinels": Row(["x:1"], "ConfigMap/event-consumer", '"REDIS_SENTINELS":"x:1"'),
    "externalRedis.sentinelService": Row("x", "ConfigMap/event-consumer", '"REDIS_SENTINEL_SERVICE":"x"'),
    "externalRedis.sentinelUsername": Row("x", "ConfigMap/event-consumer", '"REDIS_SENTINEL_USERNAME":"x"'),
    "externalRedis.sentinelExistingSecret": Row("x", CONSUMER, '"secretName":"x"'),
    "externalRedis.tls.enabled": Row(True, "ConfigMap/event-producer", '"REDIS_TLS":"on"'),
    "externalRedis.tls.caSecret": Row("x", PRODUCER, '"secretName":"x"'),
    "monitoring.serviceMonitor.enabled": Row(False, MONITOR, ""),
    "monitoring.serviceMonitor.interval": Row("9s", MONITOR, '"interval":"9s"'),
    "monitoring.serviceMonitor.labels": Row({"x": "seen"}, MONITOR, '"x":"seen"'),
    "monitoring.prometheusRule.enabled": Row(False, RULE, ""),
    "monitoring.prometheusRule.labels": Row({"x": "seen"}, RULE, '"x":"seen"'),
    "monitoring.prometheusRule.runbookUrl": Row("http://x", RULE, '"runbook_url":"http://x#'),
    "monitoring.prometheusRule.alertLabels": Row({"x/alert": "seen"}, RULE, '"x/alert":"seen"'),
    "monitoring.prometheusRule.disabled": Row(["NoConsumer"], RULE, '"alert":"NoConsumer"'),
    "monitoring.prometheusRule.extraRules": Row([{"alert": "Mine", "expr": "vector(1)"}], RULE, '"alert":"Mine"'),
    "monitoring.grafanaDashboard.enabled": Row(False, DASHBOARD, ""),
    "monitoring.grafanaDashboard.labels": Row({"x": "seen"}, DASHBOARD, '"x":"seen"'),
    "monitoring.grafanaDashboard.annotations": Row({"x/folder": "seen"}, DASHBOARD, '"x/folder":"seen"'),
    "networkPolicy.enabled": Row(False, "NetworkPolicy/event-producer", ""),
    "networkPolicy.clients": Row([{"podSelector": {"x": "seen"}}], "NetworkPolicy/event-producer", '"x":"seen"'),
    "networkPolicy.redisClients": Row([{"podSelector": {"x": "seen"}}], "NetworkPolicy/redis", '"x":"seen"'),
    "networkPolicy.dns": Row([{"podSelector": {"x": "seen"}}], "NetworkPolicy/event-consumer", '"x":"seen"'),
    "networkPolicy.monitoring": Row([{"podSelector": {"x": "seen"}}], "NetworkPolicy/event-consumer", '"x":"seen"'),
    "networkPolicy.producerEgress": Row([{"ports": [{"port": 9}]}], "NetworkPolicy/event-producer", '{"port":9}'),
    "networkPolicy.consumerEgress": Row([{"ports": [{"port": 9}]}], "NetworkPolicy/event-consumer", '{"port":9}'),
    "podDisruptionBudget.enabled": Row(False, "PodDisruptionBudget/event-producer", ""),
    "tests.stream": Row("Trial", TEST, '"--variable=STREAM:Trial"'),
    "tests.tokenSecret": Row("x", TEST, '"secretName":"x"'),
    "tests.image.repository": Row("x/y", TEST, '"image":"x/y:0.1.0"'),
    "tests.image.tag": Row("9", TEST, '"image":"localhost/eventsvc-robot:9"'),
    "tests.image.digest": Row(DIGEST, TEST, f'"image":"localhost/eventsvc-robot@{DIGEST}"'),
    "tests.image.pullPolicy": Row("Always", TEST, '"imagePullPolicy":"Always"'),
    "tests.resources": Row({"limits": {"memory": "99Mi"}}, TEST, '"limits":{"memory":"99Mi"}'),
    "tests.nodeSelector": Row({"x": "seen"}, TEST, '"nodeSelector":{"x":"seen"}'),
    "tests.tolerations": Row([{"key": "x"}], TEST, '"tolerations":[{"key":"x"}]'),
    "tests.affinity": Row({"podAffinity": {}}, TEST, '"affinity":{"podAffinity":{}}'),
    "tests.priorityClassName": Row("high", TEST, '"priorityClassName":"high"'),
    "podSecurityContext": Row({"runAsUser": 77}, REDIS, '"runAsUser":77'),
    "securityContext": Row({"privileged": False}, REDIS, '"privileged":false'),
    "nodeSelector": Row({"x": "seen"}, TEST, '"nodeSelector":{"x":"seen"}'),
    "tolerations": Row([{"key": "x"}], CONSUMER, '"tolerations":[{"key":"x"}]'),
    "affinity": Row({"podAffinity": {}}, PRODUCER, '"affinity":{"podAffinity":{}}'),
    "priorityClassName": Row("high", REDIS, '"priorityClassName":"high"'),
    "commonLabels": Row({"x/common": "seen"}, SERVICE, '"x/common":"seen"'),
    "commonAnnotations": Row({"x": "seen"}, "ConfigMap/event-producer", '"annotations":{"x":"seen"}'),
}

EXTERNAL: Final = {"redis.enabled": False, "externalRedis.host": "elsewhere"}

#: What else must be set for values to do something, by how they begin.
GIVEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "simulator.": {"simulator.enabled": True},
    "producer.serviceAccount.annotations": {"producer.serviceAccount.create": True},
    "consumer.serviceAccount.annotations": {"consumer.serviceAccount.create": True},
    "simulator.serviceAccount.annotations": {"simulator.serviceAccount.create": True},
    "producer.tokens.key": {"producer.tokens.existingSecret": "tokens"},
    "producer.tls.": {"producer.tls.existingSecret": "certificate"},
    "producer.tls.caSecret": {"simulator.enabled": True},
    "producer.ingress.": {"producer.ingress.enabled": True, "producer.ingress.hosts": ["b.example"]},
    "producer.gateway.": {"producer.gateway.enabled": True, "producer.gateway.parentRefs": [{"name": "y"}]},
    "producer.autoscaling.": {"producer.autoscaling.enabled": True},
    "consumer.webhook.secretKey": {"consumer.webhook.existingSecret": "signing"},
    "consumer.keda.": {"consumer.keda.enabled": True},
    "redis.auth.eventsvcKey": {"redis.auth.existingSecret": "account"},
    "redis.enabled": {"producer.enabled": False, "consumer.enabled": False},
    "redis.spread": {"redis.replicas": 3},
    "redis.sentinel.": {"redis.replicas": 3},
    "redis.exporter.": {"redis.exporter.enabled": True},
    "redis.exporter.enabled": {"redis.exporter.enabled": False},
    "redis.tls.": {"redis.tls.existingSecret": "certificate"},
    "redis.tls.existingSecret": {"redis.tls.enabled": True},
    "externalRedis.": EXTERNAL,
    "externalRedis.existingSecretKey": {"externalRedis.existingSecret": "account"},
    "externalRedis.sentinel": {"externalRedis.host": "", "externalRedis.sentinels": ["y:1"]},
    "externalRedis.tls.caSecret": {"externalRedis.tls.enabled": True},
    "monitoring.": {
        "monitoring.serviceMonitor.enabled": True,
        "monitoring.prometheusRule.enabled": True,
        "monitoring.grafanaDashboard.enabled": True,
    },
    "networkPolicy.": {"networkPolicy.enabled": True},
}

#: Values that hide others, or that refuse them: each is rendered alone.
ALONE: Final = re.compile(
    r"fullnameOverride|settings|nodeSelector|tolerations|affinity|priorityClassName"
    r"|redis\.replicas|redis\.auth|externalRedis\.(moved|sentinels)|networkPolicy\.dns|.*(enabled|digest|image\.tag|existingSecret|serviceAccount\.name)"
)

#: Values that take away what is seen.
TAKING_AWAY: Final = {"monitoring.prometheusRule.disabled"}

#: A step of a move, which has tests of its own.
ELSEWHERE: Final = {"externalRedis.moved"}

#: Values whose members are those of Kubernetes or of the services.
WHOLE: Final = {
    *("settings", "resources", "podSecurityContext", "securityContext", "behavior", "dns"),
}


def _defaults(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in values.items():
        if isinstance(below, dict) and below and name not in WHOLE:
            yield from _defaults(below, f"{at}{name}.")
        else:
            yield f"{at}{name}", below


def _text(objects: list[Object], where: str) -> str:
    """Return an object as JSON with sorted names, or nothing."""
    kind, _, name = where.partition("/")
    found = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return "".join(json.dumps(each, sort_keys=True, separators=(",", ":")) for each in found)


def test_every_value_has_a_row() -> None:
    leaves = set(dict(_defaults(VALUES))) - ELSEWHERE
    assert leaves == ROWS.keys(), (
        f"tests/repo/test_chart_values.py, ROWS: add {sorted(leaves - ROWS.keys())}, "
        f"remove {sorted(ROWS.keys() - leaves)}"
    )


def _given(name: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for beginning, more in GIVEN.items():
        if name.startswith(beginning):
            given.update(more)
    return given


@cache
def _together(name: str) -> tuple[str, ...]:
    """Return the values that are rendered with this one: rendering takes a while."""
    if ALONE.fullmatch(name):
        return (name,)
    return tuple(each for each in ROWS if not ALONE.fullmatch(each) and _given(each) == _given(name))


@pytest.mark.parametrize("name", ROWS)
def test_a_value_changes_what_it_is_for(name: str) -> None:
    row, given = ROWS[name], _given(name)
    after = {**given, **{each: ROWS[each].value for each in _together(name)}}
    was, is_now = _text(render(given), row.where), _text(render(after), row.where)
    if name in TAKING_AWAY:
        assert row.seen in was
        assert row.seen not in is_now
    elif row.seen:
        assert row.seen not in was
        assert row.seen in is_now
    else:
        assert was
        assert is_now == ""


def test_no_value_is_taken_for_another() -> None:
    for name in ROWS:
        places = [(ROWS[each].where, ROWS[each].seen) for each in _together(name)]
        assert len(set(places)) == len(places), name


def test_a_digest_beats_the_tag() -> None:
    objects = render({"image.tag": "9", "image.digest": DIGEST})
    assert f'"image":"localhost/eventsvc@{DIGEST}"' in _text(objects, PRODUCER)


def test_the_table_in_the_docs_has_every_value_with_its_default() -> None:
    """That it is not stale is checked with the other generated parts."""
    table = {value.path: value.default for value in values((CHART / "values.yaml").read_text()) if value.default}
    assert {name: json.loads(default) for name, default in table.items()} == dict(_defaults(VALUES))


def test_a_comment_belongs_to_the_value_below_it() -> None:
    text = "# Of a,\n# two lines.\na:\n  # Of b.\n  b: 1\n\n# Of nothing.\n\nc: [x]\n"
    found = {value.path: (value.default, value.text) for value in values(text)}
    assert found == {"a": ("", "Of a, two lines."), "a.b": ("1", "Of b."), "c": ('["x"]', "")}
