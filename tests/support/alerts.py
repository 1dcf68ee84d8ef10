"""
Evaluates the chart's alerts with Prometheus' own C{promtool}.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import yaml  # type: ignore[import-untyped]

from tests.support.helm import CHART, GO_ENVIRONMENT, Object, find_command, render

#: The figures of a scenario: the values of each series, in the notation of promtool, four a minute.
Figures = Mapping[str, str]

#: Values that switch on every alert but that for consumers on demand.
EVERYTHING: Final[Mapping[str, Any]] = {
    "monitoring.prometheusRule.enabled": True,
    "producer.tokens.existingSecret": "tokens",
    "producer.tls.existingSecret": "certificate",
    "consumer.settings": {"CONSUMER_HANDLER": "webhook"},
    "redis.replicas": 3,
}

#: Values with which KEDA ends the last consumer.
ON_DEMAND: Final[Mapping[str, Any]] = {
    **EVERYTHING,
    "consumer.keda.enabled": True,
    "consumer.keda.minReplicas": 0,
}

#: How long a scenario is, in minutes.
MINUTES: Final = 30

_TOLD: Final = re.compile(
    r"name: (.*?),\n\s*alertname: ?(\w+), time: (\w+), \s*exp:\[\s*\], \s*got:\[(.*?)\n {12}\]", re.S
)
_ALERT: Final = re.compile(r"Labels:\{(.*)\}\n\s*Annotations:\{(.*)\}")
_PAIR: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@attrs.frozen
class Fired:
    """An alert that fires, as Prometheus sends it."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def rules(values: Mapping[str, Any], release: str = "demo") -> list[Object]:
    """Return the rules of a release in the namespace C{here}."""
    (made,) = [each for each in render(values, release=release) if each["kind"] == "PrometheusRule"]
    return [rule for group in made["spec"]["groups"] for rule in group["rules"]]


def source() -> list[Object]:
    """Return the alerts as the chart's files have them."""
    files = sorted((CHART / "files" / "alerts").glob("*.yaml"))
    return [alert for file in files for alert in yaml.safe_load(file.read_text(encoding="utf-8"))]


def evaluate(
    rules: Sequence[Object], scenarios: Mapping[str, Figures], times: Sequence[str], directory: Path
) -> dict[str, list[Fired]]:
    """Return the alerts that fire in each scenario at any of these times, such as C{30m}."""
    group = {"name": "all", "rules": list(rules)}
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    # Nothing is expected, so promtool tells all that fires.
    none = [
        {"eval_time": time, "alertname": rule["alert"], "exp_alerts": []}
        for rule in rules
        if "alert" in rule
        for time in times
    ]
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [{"series": series, "values": values} for series, values in figures.items()],
            "alert_rule_test": none,
        }
        for name, figures in scenarios.items()
    ]
    # Prometheus evaluates more often; for a test twice a minute will do, and takes less long.
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": tests}
    (directory / "test.yaml").write_text(yaml.safe_dump(test))
    command = [find_command("promtool"), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, env=GO_ENVIRONMENT)
    told = done.stdout + done.stderr
    found: dict[str, list[Fired]] = {name: [] for name in scenarios}
    for name, alert, _, got in _TOLD.findall(told):
        for labels, texts in _ALERT.findall(got):
            found[name].append(Fired(alert, dict(_PAIR.findall(labels)), dict(_PAIR.findall(texts))))
    assert any(found.values()) == bool(done.returncode), told
    return found
