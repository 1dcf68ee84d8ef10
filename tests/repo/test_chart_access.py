"""
Tests for whom the chart lets in: Secrets, network policies and the clients of a release.
"""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tests.support.helm import CHART, OVERLAYS, pod_of, pods, refusal, render, settings, the
from tests.support.pods import files

TOKENS = {"producer.tokens.existingSecret": "tokens"}
TLS = {"producer.tls.existingSecret": "certificate"}
ADMIN = {"producer.admin.enabled": True}
EVERYTHING = CHART / "ci" / "everything.yaml"

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)


@pytest.mark.parametrize(
    ("values", "name", "setting", "source"),
    [
        (TOKENS, "event-producer", "REST_SERVER_TOKENS", ("tokens", "tokens.toml")),
        (TOKENS | {"producer.tokens.key": "a"}, "event-producer", "REST_SERVER_TOKENS", ("tokens", "a")),
        (TLS, "event-producer", "REST_SERVER_TLS_CERT", ("certificate", "tls.crt")),
        (TLS, "event-producer", "REST_SERVER_TLS_KEY", ("certificate", "tls.key")),
        (
            TLS | {"producer.tls.clientCASecret": "clients"},
            "event-producer",
            "REST_SERVER_TLS_CLIENT_CA",
            ("clients", "ca.crt"),
        ),
        (
            {"simulator.enabled": True, "simulator.tokenSecret": "traffic"},
            "event-simulator",
            "EVENT_PRODUCER_TOKEN_FILE",
            ("traffic", "token"),
        ),
        (
            TLS | {"simulator.enabled": True, "producer.tls.caSecret": "ours"},
            "event-simulator",
            "EVENT_PRODUCER_TLS_CA",
            ("ours", "ca.crt"),
        ),
    ],
)
def test_a_setting_names_the_file_of_its_secret(values: Any, name: str, setting: str, source: tuple[str, str]) -> None:
    objects = render(values)
    path = settings(objects, name)[setting]
    assert files(pod_of(the(objects, "Deployment", name)))[path] == source


def test_no_secret_of_one_role_reaches_another() -> None:
    """A pod that is broken into gives away no more than its own role needs."""
    objects = render(overlay=EVERYTHING)
    found = {
        role: {secret for secret, _ in files(pod_of(the(objects, "Deployment", f"event-{role}"))).values()}
        for role in ("producer", "consumer", "simulator")
    }
    assert found == {
        "producer": {"redis", "tokens", "certificate"},
        "consumer": {"redis", "orders"},
        "simulator": {"simulator-token", "certificate"},
    }
    simulator = files(pod_of(the(objects, "Deployment", "event-simulator")))
    assert ("certificate", "tls.key") not in simulator.values()


@overlays
def test_a_changed_secret_reaches_the_pods_that_run(overlay: Path) -> None:
    """Kubernetes updates a mounted directory, but neither a subPath nor a variable."""
    for pod in pods(render(overlay=overlay)):
        for each in pod["spec"]["containers"]:
            assert not [mount for mount in each.get("volumeMounts", []) if "subPath" in mount]
        if pod["metadata"]["labels"].get("app", "").endswith(("producer", "consumer", "simulator")):
            assert "secretRef" not in json.dumps(pod["spec"]["containers"][0].get("envFrom"))


# Network policies


def test_clients_reach_events_alone_and_monitoring_the_figures_alone() -> None:
    clients = [{"podSelector": {"matchLabels": {"team": "shop"}}}]
    monitoring = [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}]
    policy = {"enabled": True, "clients": clients, "monitoring": monitoring}
    own = [
        {
            "podSelector": {
                "matchLabels": {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/part-of": "eventsvc"}
            }
        }
    ]
    assert _ingress(policy, {}) == {8080: own + clients + monitoring}
    assert _ingress(policy, TLS) == _ingress(policy, ADMIN) == {8080: own + clients, 8081: monitoring}
    assert _ingress({"enabled": True}, TLS) == {8080: None, 8081: None}


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"monitoring.serviceMonitor.enabled": True}, "Prometheus"), ({"consumer.keda.enabled": True}, "KEDA")],
)
def test_who_reads_figures_is_not_kept_out_by_naming_the_clients(asked: Any, named: str) -> None:
    values = {"networkPolicy": {"enabled": True, "clients": [{"podSelector": {}}]}, **asked}
    assert f"networkPolicy.clients keeps {named} out:" in refusal(values)
    ways_out: list[Any] = [ADMIN, TLS, {"networkPolicy.monitoring": [{}]}]
    for way_out in ways_out:
        assert render(values | way_out)


def _ingress(policy: Any, values: Any) -> dict[int, Any]:
    found = the(render({"networkPolicy": policy, **values}), "NetworkPolicy", "event-producer")["spec"]["ingress"]
    return {rule["ports"][0]["port"]: rule.get("from") for rule in found}


# The clients of a release


def test_the_simulator_speaks_as_the_producer_listens() -> None:
    plain = settings(render({"simulator.enabled": True}), "event-simulator")
    assert not [name for name in plain if name.startswith(("EVENT_PRODUCER_TLS", "EVENT_PRODUCER_TOKEN"))]
    assert settings(render(TLS | {"simulator.enabled": True}), "event-simulator")["EVENT_PRODUCER_TLS"] == "on"


HELM_TEST = [
    ({}, True),
    (TLS, True),
    (TOKENS, False),
    (TOKENS | {"tests.tokenSecret": "robot"}, True),
    (TLS | {"producer.tls.clientCASecret": "clients"}, False),
    ({"producer.enabled": False}, False),
]


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a chart with a ConfigMap of the notes, which helm shows only with a cluster."""
    chart = copytree(CHART, tmp_path_factory.mktemp("noted") / "eventsvc")
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "_noted.tpl").write_text(f'{{{{ define "notes" }}}}{text}{{{{ end }}}}')
    (chart / "templates" / "noted.yaml").write_text(
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {text: {{ include "notes" . | toJson }}}\n'
    )
    return chart


def notes(chart: Path, values: Any) -> str:
    text: str = settings(render(values, chart=chart), "notes")["text"]
    return text


@pytest.mark.parametrize(("values", "runs"), HELM_TEST)
def test_helm_test_is_there_if_it_can_post(values: Any, runs: bool, noted: Path) -> None:
    """All of it or nothing: a test that cannot pass is worse than none."""
    kinds = {each["kind"] for each in render(values) if each["metadata"]["name"] == "event-test"}
    assert kinds == ({"Pod", "ServiceAccount", "Role", "RoleBinding"} if runs else set())
    assert ("helm --namespace here test demo" in notes(noted, values)) is runs


def test_helm_test_has_a_token_and_trusts_the_authority() -> None:
    values = {"producer.tls.caSecret": "ours", "tests.tokenSecret": "robot"}
    pod = the(render(TOKENS | TLS | values), "Pod", "event-test")
    given = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert given["EVENT_PRODUCER_TLS"] == "on"
    assert files(pod)[given["EVENT_PRODUCER_TOKEN_FILE"]] == ("robot", "token")
    assert files(pod)[given["EVENT_PRODUCER_TLS_CA"]] == ("ours", "ca.crt")


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({}, ""),
        (TOKENS, ' --header "Authorization: Bearer $TOKEN"'),
        (TLS, " --cacert ca.crt --resolve event-producer-svc:8080:127.0.0.1"),
    ],
)
def test_the_notes_show_a_command_that_is_let_in(values: Any, options: str, noted: Path) -> None:
    url = "https://event-producer-svc:8080" if "resolve" in options else "http://127.0.0.1:8080"
    assert f"""  curl -i{options} --data '{{"description": "hello world"}}' {url}/event\n""" in notes(noted, values)


# What cannot be meant


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"producer.tokens.key": "events.toml"}, "producer.tokens.key is set without producer.tokens.existingSecret:"),
        ({"producer.tls.clientCASecret": "clients"}, "producer.tls.clientCASecret is set without"),
        ({"producer.ingress.enabled": True}, "producer.ingress.enabled is set without producer.ingress.hosts:"),
        ({"producer.gateway.enabled": True}, "producer.gateway.enabled is set without producer.gateway.parentRefs:"),
        (TOKENS | {"simulator.enabled": True}, "The simulator has no token"),
        (TLS | {"producer.tls.clientCASecret": "a", "simulator.enabled": True}, "The simulator has no certificate"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(values: Any, sentence: str) -> None:
    assert sentence in refusal(values)


def test_a_simulator_of_another_producer_needs_no_token_of_ours() -> None:
    assert render(TOKENS | {"simulator.enabled": True, "simulator.settings.EVENT_PRODUCER_HOST": "elsewhere"})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"producer.streams": "Orders"}, "producer.streams"),
        ({"producer.streams": ["Orders,Audit"]}, "producer.streams.0"),
        ({"producer.streams": ["{Orders}"]}, "producer.streams.0"),
        ({"producer.streams": ["a/b"]}, "producer.streams.0"),
        ({"producer.streams": [""]}, "producer.streams.0"),
        ({"producer.streams": ["Orders", "Orders"]}, "producer.streams"),
        ({"producer.tokens.existingsecret": "tokens"}, "existingsecret"),
        ({"producer.tokens": {"existingSecret": "tokens", "key": "a/b"}}, "producer.tokens.key"),
        ({"producer.tls": True}, "producer.tls"),
        ({"producer.ingress": {"enabled": True, "hosts": ["https://events.example.org"]}}, "producer.ingress.hosts.0"),
        ({"producer.ingress": {"enabled": True, "hosts": [""]}}, "producer.ingress.hosts.0"),
        ({"producer.gateway": {"enabled": True, "parentRefs": [{"namespace": "a"}]}}, "missing property 'name'"),
        ({"producer.gateway": {"enabled": True, "parentRefs": ["public"]}}, "producer.gateway.parentRefs.0"),
        ({"producer.settings.REST_SERVER_TOKENS": "/tokens"}, "REST_SERVER_TOKENS"),
        ({"producer.settings.ADMIN_PORT": 9000}, "ADMIN_PORT"),
    ],
)
def test_a_typing_error_is_refused_by_its_name(values: Any, named: str) -> None:
    assert named in refusal(values).replace("/", ".")


def test_the_streams_come_through_as_a_list() -> None:
    """Names that YAML takes for something else, too."""
    objects = render({"producer.streams": ["Orders", "on", "1e3", 'q"uote']})
    assert settings(objects, "event-producer")["REDIS_STREAMS"] == 'Orders,on,1e3,q"uote,HelmTest'
    assert "REDIS_STREAMS" not in settings(objects, "event-consumer")
    assert "REDIS_STREAMS" not in settings(render({"tests.stream": ""}), "event-producer")
