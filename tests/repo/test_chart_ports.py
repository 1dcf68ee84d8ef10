"""
Tests for the ports of the chart, and for the routes that lead to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm import CHART, OVERLAYS, Object, container, picks, pods, render, settings, the

TOKENS = {"producer.tokens.existingSecret": "tokens"}
TLS = {"producer.tls.existingSecret": "certificate"}
ADMIN = {"producer.admin.enabled": True}
EVERYTHING = CHART / "ci" / "everything.yaml"

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)


@overlays
def test_every_port_that_is_named_exists(overlay: Path) -> None:
    objects = render(overlay=overlay)
    for service in [each for each in objects if each["kind"] == "Service"]:
        behind = [pod for pod in pods(objects) if picks(service["spec"]["selector"], pod["metadata"]["labels"])]
        assert behind
        for pod in behind:
            for port in service["spec"]["ports"]:
                assert [each for each in pod["spec"]["containers"] if port["targetPort"] in _ports(each)]
    for pod in pods(objects):
        each = pod["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if get := each.get(probe, {}).get("httpGet"):
                assert get["port"] in _ports(each)


def _ports(container: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.mark.parametrize(
    ("values", "port", "admin"),
    [({}, 8080, None), (TOKENS, 8080, None), (ADMIN, 8081, "8081"), (TLS, 8081, "8081"), (TLS | ADMIN, 8081, "8081")],
    ids=["plain", "tokens", "admin", "tls", "both"],
)
def test_probes_and_prometheus_ask_in_plain_http_where_health_and_metrics_are(
    values: Any, port: int, admin: str | None
) -> None:
    objects = render(values | {"monitoring.serviceMonitor.enabled": True})
    producer = container(objects, "event-producer")
    assert settings(objects, "event-producer").get("ADMIN_PORT") == admin
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = producer[probe]["httpGet"]
        assert (_ports(producer)[get["port"]], get.get("scheme", "HTTP")) == (port, "HTTP")
    (scraped,) = _scraped(objects, "event-producer")
    assert (_ports(producer)[scraped["targetPort"]], scraped["port"]) == (port, port)


@overlays
def test_prometheus_scrapes_each_pod_of_a_role_once(overlay: Path) -> None:
    objects = render(overlay=overlay)
    if not [each for each in objects if each["kind"] == "ServiceMonitor"]:
        return
    roles = [each["metadata"]["labels"]["app"] for each in objects if each["kind"] == "Deployment"]
    assert {role: len(_scraped(objects, role)) for role in roles} == dict.fromkeys(roles, 1)


def _scraped(objects: Sequence[Object], app: str) -> list[Object]:
    """Return the ports of Services by which Prometheus finds the pods of a role."""
    (monitor,) = [each["spec"] for each in objects if each["kind"] == "ServiceMonitor"]
    names = [endpoint["port"] for endpoint in monitor["endpoints"]]
    return [
        port
        for each in objects
        if each["kind"] == "Service"
        and picks(monitor["selector"]["matchLabels"], each["metadata"]["labels"])
        and each["spec"]["selector"].get("app") == app
        for port in each["spec"]["ports"]
        if port["name"] in names
    ]


@pytest.mark.parametrize(
    ("values", "name", "protocol"), [({}, "http", None), (ADMIN, "http", None), (TLS, "https", "https")]
)
def test_the_service_says_what_its_port_speaks(values: Any, name: str, protocol: str | None) -> None:
    """Its number never changes, and it never leads to health and metrics with a port of their own."""
    objects = render(values)
    (port,) = the(objects, "Service", "event-producer-svc")["spec"]["ports"]
    assert (port["name"], port.get("appProtocol"), port["port"]) == (name, protocol, 8080)
    assert _ports(container(objects, "event-producer"))[port["targetPort"]] == 8080


def test_an_upgrade_to_tls_leaves_no_pod_out_of_the_service() -> None:
    """Pods of both kinds are behind the Service meanwhile, so the port of the pods keeps its name."""
    before, after = render(), render(TLS)
    (port,) = the(after, "Service", "event-producer-svc")["spec"]["ports"]
    assert port["targetPort"] in _ports(container(before, "event-producer"))


# Routes


def _routes(objects: Sequence[Object]) -> Iterator[tuple[str, set[tuple[str, bool]]]]:
    """Yield the kind of each route and its paths, each with whether longer ones belong to it."""
    for each in objects:
        if each["kind"] == "Ingress":
            for rule in each["spec"]["rules"]:
                yield "Ingress", {(path["path"], path["pathType"] == "Prefix") for path in rule["http"]["paths"]}
        if each["kind"] == "HTTPRoute":
            (rule,) = each["spec"]["rules"]
            paths = [match["path"] for match in rule["matches"]]
            yield "HTTPRoute", {(path["value"], path["type"] == "PathPrefix") for path in paths}


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        ("/event", True),
        ("/events", True),
        ("/streams/Invoices/event", True),
        ("/streams/Invoices/events", True),
        ("/metrics", False),
        ("/health/live", False),
        ("/health/ready", False),
        ("/", False),
        ("/eventful", False),
        ("/event/more", False),
        ("/streamsy/x", False),
    ],
)
def test_only_events_come_in_from_outside(path: str, passes: bool) -> None:
    found = list(_routes(render(overlay=EVERYTHING)))
    assert [kind for kind, _ in found] == ["Ingress", "Ingress", "HTTPRoute"]
    for kind, known in found:
        matches = any(path == each or (longer and path.startswith(f"{each}/")) for each, longer in known)
        assert matches is passes, kind


def test_routes_lead_to_the_service_by_the_names_that_are_given() -> None:
    objects = render(overlay=EVERYTHING)
    ingress = the(objects, "Ingress", "event-producer")["spec"]
    hosts = ["events.example.org", "*.events.example.org"]
    assert ingress["tls"] == [{"secretName": "events-example-org", "hosts": hosts}]
    assert [rule["host"] for rule in ingress["rules"]] == hosts
    backends = [path["backend"]["service"] for rule in ingress["rules"] for path in rule["http"]["paths"]]
    assert backends == [{"name": "event-producer-svc", "port": {"number": 8080}}] * 6
    route = the(objects, "HTTPRoute", "event-producer")["spec"]
    assert route["hostnames"] == ["events.example.org"]
    assert route["rules"][0]["backendRefs"] == [{"name": "event-producer-svc", "port": 8080}]


def test_nothing_is_open_to_the_outside_by_default() -> None:
    assert not {"Ingress", "HTTPRoute"} & {each["kind"] for each in render()}
