"""
The alerts of the chart, each firing and not firing, evaluated by Prometheus'
own C{promtool}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.alert_figures import FOREIGN, healthy, without
from tests.support.alert_scenarios import ON_DEMAND_SILENT, SILENT, firing
from tests.support.alerts import EVERYTHING, MINUTES, ON_DEMAND, Fired, evaluate, rules, source
from tests.support.helm import ROOT, refusal

GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = {alert["alert"]: alert for alert in source()}
FIRING = firing()
END = [f"{MINUTES}m"]
ALL_ALONG = [f"{minute}m" for minute in range(MINUTES + 1)]


def names(found: Mapping[str, list[Fired]]) -> dict[str, set[str]]:
    """Return the names of what fired, by scenario; those in which nothing did are left out."""
    return {scenario: {each.name for each in alerts} for scenario, alerts in found.items() if alerts}


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Fired]]:
    """What fires at the end of each scenario in which something is wrong."""
    scenarios = {name: each.figures for name, each in FIRING.items()}
    always = {name: each for name, each in scenarios.items() if not FIRING[name].on_demand}
    on_demand = {name: each for name, each in scenarios.items() if FIRING[name].on_demand}
    return {
        **evaluate(rules(EVERYTHING), always, END, tmp_path_factory.mktemp("always")),
        **evaluate(rules(ON_DEMAND), on_demand, END, tmp_path_factory.mktemp("on-demand")),
    }


@pytest.mark.parametrize("scenario", FIRING)
def test_an_alert_fires_for_what_is_wrong(scenario: str, fired: Mapping[str, list[Fired]]) -> None:
    """And no other one does, so that whoever is woken has one page to read."""
    assert {each.name for each in fired[scenario]} == FIRING[scenario].alerts


@pytest.mark.parametrize("scenario", FIRING)
def test_an_alert_says_what_where_and_what_to_do(scenario: str, fired: Mapping[str, list[Fired]]) -> None:
    for each in fired[scenario]:
        assert each.labels.items() >= {"namespace": "here", "release": "demo"}.items()
        assert each.labels["severity"] == ALERTS[each.name]["severity"]
        assert each.annotations["runbook_url"] == f"docs/operations.md#{each.name.lower()}"
        assert "here" in each.annotations["description"]
        assert not re.search(r"[<>]|no value|error", each.annotations["description"]), each.annotations["description"]


def test_every_alert_has_a_scenario_in_which_it_fires() -> None:
    assert {name for each in FIRING.values() for name in each.alerts} == set(ALERTS)


def test_every_alert_shows_a_value() -> None:
    absent = {name for name, alert in ALERTS.items() if alert["expr"].startswith("absent(")}
    assert {name for name, alert in ALERTS.items() if "$value" not in alert["description"]} == absent


def test_no_alert_fires_while_nothing_is_wrong(tmp_path: Path) -> None:
    """Neither at rest, nor during what an operator does every week."""
    found = evaluate(rules(EVERYTHING), SILENT, ALL_ALONG, tmp_path)
    assert names(found) == {}


def test_no_alert_fires_while_consumers_on_demand_have_nothing_to_do(tmp_path: Path) -> None:
    found = evaluate(rules(ON_DEMAND), ON_DEMAND_SILENT, ALL_ALONG, tmp_path)
    assert names(found) == {}


def all_wrong(prefix: str = "") -> dict[str, str]:
    """Return the figures of a release with all at once that can be wrong, as far as that can be."""
    well = healthy(prefix)
    wrong = [each.figures.items() - well.items() for each in firing(prefix).values()]
    return {**without(well, "up{"), **dict(pair for pairs in wrong for pair in pairs)}


def test_another_release_wakes_nobody(tmp_path: Path) -> None:
    """Neither in the same namespace nor in another, whichever of them has a prefix."""
    elsewhere = {series.replace('"here"', '"there"'): values for series, values in all_wrong().items()}
    found = evaluate(
        [*rules(EVERYTHING), *rules({**EVERYTHING, "fullnameOverride": "orders"}, "demo-2")],
        {
            "demo": {**all_wrong(), **healthy("orders-")},
            "demo-2": {**healthy(), **all_wrong("orders-")},
            "": {**healthy(), **healthy("orders-"), **elsewhere},
        },
        END,
        tmp_path,
    )
    assert {name: {each.labels["release"] for each in alerts} for name, alerts in found.items()} == {
        "demo": {"demo"},
        "demo-2": {"demo-2"},
        "": set(),
    }
    assert len(names(found)["demo"]) > 20


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"consumer.enabled": False}, {name for name, each in ALERTS.items() if "consumer" in each.get("needs", ())}),
        ({"producer.enabled": False}, {name for name, each in ALERTS.items() if "producer" in each.get("needs", ())}),
        (
            {"redis.enabled": False, "redis.replicas": 1, "externalRedis.host": "redis.example.org"},
            {name for name, each in ALERTS.items() if {"redis", "failover"} & set(each.get("needs", ()))},
        ),
        (
            {"producer.enabled": False, "consumer.enabled": False},
            {
                name
                for name, each in ALERTS.items()
                if {"producer", "consumer", "producer-or-consumer"} & set(each.get("needs", ()))
            },
        ),
        ({"producer.tokens.existingSecret": ""}, {"TokensAreStale"}),
        ({"producer.tls.existingSecret": ""}, {"ACertificateIsRefused", "ACertificateExpires"}),
        ({"consumer.settings": {}}, {"AWebhookReceiverIsGone"}),
        ({"consumer.replicas": 0}, {"NoConsumer"}),
        ({"redis.replicas": 1}, {"LittleIsRetained"}),
        ({"monitoring.prometheusRule.disabled": ["DeadLetters", "NoProducer"]}, {"DeadLetters", "NoProducer"}),
    ],
)
def test_an_alert_for_what_is_off_is_not_there(values: Mapping[str, object], gone: set[str]) -> None:
    all_of_them = {rule["alert"] for rule in rules(EVERYTHING)}
    assert gone
    assert all_of_them - {rule["alert"] for rule in rules({**EVERYTHING, **values})} == gone & all_of_them


def test_an_unknown_name_among_those_to_leave_out_is_refused() -> None:
    words = refusal({**EVERYTHING, "monitoring.prometheusRule.disabled": ["DeadLeters"]})
    assert "monitoring.prometheusRule.disabled" in words
    assert "DeadLeters" in words


def test_alerts_have_the_labels_and_the_guide_that_the_values_name() -> None:
    values = {
        "monitoring.prometheusRule.alertLabels": {"team": "events"},
        "monitoring.prometheusRule.runbookUrl": "https://docs.example.org/operations",
        "monitoring.prometheusRule.extraRules": [{"alert": "Mine", "expr": "vector(1)"}],
    }
    *ours, mine = rules({**EVERYTHING, **values})
    assert mine == {"alert": "Mine", "expr": "vector(1)"}
    for rule in ours:
        assert rule["labels"]["team"] == "events"
        assert rule["annotations"]["runbook_url"].startswith("https://docs.example.org/operations#")


def test_an_alert_asks_for_figures_that_there_are() -> None:
    """An alert for a misspelt figure never fires; the tables of figures are checked against the code elsewhere."""
    tables = set(re.findall(r"^\| `(eventsvc_\w+)", GUIDE, re.M))
    used = {name for alert in ALERTS.values() for name in re.findall(r"\b(\w+)\{", alert["expr"])}
    assert used - tables == set(FOREIGN)


def test_every_alert_looks_at_one_release_alone() -> None:
    """Each figure is that of the namespace, and of a name that the release has alone."""
    own = re.compile(r'namespace="<namespace>",(job|deployment|statefulset|persistentvolumeclaim|pod)')
    for alert in ALERTS.values():
        for selector in re.findall(r"\w+\{(.*?)\}", alert["expr"]):
            assert own.match(selector), alert["alert"]


def test_every_alert_has_a_section_in_the_guide() -> None:
    """The anchor of its C{runbook_url} is that of the heading."""
    alerts = GUIDE[GUIDE.index("\n## Alerts\n") : GUIDE.index("\n## Situations\n")]
    sections = dict(re.findall(r"^### (\w+)$(.*?)(?=^##|\Z)", alerts, re.M | re.S))
    assert set(sections) == set(ALERTS)
    assert [name for name, text in sections.items() if not re.search(r"\*\*Look\*\*.*\*\*Over\*\*", text, re.S)] == []
