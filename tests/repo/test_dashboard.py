"""
The dashboard of the chart: each expression is evaluated by Prometheus' own C{promtool} on what processes have exported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.dashboards import Exported, evaluate, parse, record
from tests.support.helm import ROOT, render
from tests.support.processes import Services, get, post, running_server

GUIDE: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ON: Final = {"monitoring.grafanaDashboard.enabled": True}


def dashboard(values: Mapping[str, Any] = ON, release: str = "demo") -> dict[str, Any]:
    """Return the dashboard of a release, as Grafana reads it."""
    (made,) = [each for each in render(values, release=release) if "grafana_dashboard" in each["metadata"]["labels"]]
    ((name, text),) = made["data"].items()
    assert name.endswith(".json")
    found: dict[str, Any] = json.loads(text)
    return found


def panels(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in found["panels"] if panel["type"] != "row"]


def expressions(found: Mapping[str, Any]) -> list[str]:
    return [target["expr"].replace("$__rate_interval", "1m") for panel in panels(found) for target in panel["targets"]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a producer and a consumer export while events come through, as Prometheus would have it."""
    services = Services(tmp_path_factory.mktemp("services"))
    with running_server("--maxmemory", "256mb", "--maxmemory-policy", "noeviction") as server:
        try:
            port = services.start("producer", "--rest-server-port=0", f"--redis-port={server.port}").port()
            admin = stable_port()
            services.start("consumer", f"--redis-port={server.port}", f"--admin-port={admin}")
            looks: list[tuple[Exported, Exported]] = []
            for expected in (100, 200):
                for number in range(100):
                    assert post(port, f'{{"description": "event {number}"}}').status == 200
                done = f'handled"}} {expected}.0'
                wait_until(lambda done=done: done in get(admin, "/metrics")[1])  # type: ignore[misc]
                looks.append((parse(get(port, "/metrics")[1]), parse(get(admin, "/metrics")[1])))
            series = {}
            for number, role in enumerate(("producer", "consumer")):
                labels = {"namespace": "here", "job": f"event-{role}-metrics", "pod": f"event-{role}-1"}
                series.update(record(looks[0][number], looks[1][number], **labels))
            yield series
        finally:
            services.end()


def test_every_expression_has_a_value_on_what_processes_export(exported: Mapping[str, str], tmp_path: Path) -> None:
    """A misspelt figure or label would be an empty panel."""
    found = evaluate(expressions(dashboard()), exported, tmp_path)
    assert [expression for expression, values in found.items() if not values] == []


def test_the_figures_are_right_on_a_known_run(exported: Mapping[str, str], tmp_path: Path) -> None:
    """A hundred events in ten minutes, accepted and handled."""
    accepted, handled = expressions(dashboard())[:2]
    found = evaluate([accepted, handled], exported, tmp_path)
    assert found == {accepted: [pytest.approx(100 / 600, rel=0.01)], handled: [pytest.approx(100 / 600, rel=0.01)]}


def test_a_misspelt_figure_has_no_value(exported: Mapping[str, str], tmp_path: Path) -> None:
    """The test above can fail."""
    wrong = [expression.replace("eventsvc_", "eventsvc_no_") for expression in expressions(dashboard())[:6]]
    assert set(map(tuple, evaluate(wrong, exported, tmp_path).values())) == {()}


def test_another_release_has_a_dashboard_of_its_own(exported: Mapping[str, str], tmp_path: Path) -> None:
    """With its own figures alone, and a uid that no other has."""
    other = dashboard({**ON, "fullnameOverride": "orders"}, "demo-2")
    assert other["uid"] != dashboard()["uid"]
    assert len(other["uid"]) <= 40
    assert set(map(tuple, evaluate(expressions(other), exported, tmp_path).values())) == {()}


def test_every_figure_is_in_the_guide() -> None:
    """Those of Python's Prometheus client apart."""
    tables = set(re.findall(r"`((?:eventsvc|process)_\w+)`", GUIDE))
    used = {name for expression in expressions(dashboard()) for name in re.findall(r"\b(\w+)\{", expression)}
    assert {name.removesuffix("_bucket") for name in used if name.startswith("eventsvc_")} <= tables
    assert {name for name in used if not name.startswith("eventsvc_")} == {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }


def test_panels_stand_beside_each_other_and_say_what_they_show() -> None:
    """None covers another; each has a title, a sentence, a unit, and a legend for each line."""
    found = dashboard()
    places: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & places
        assert at["x"] + at["w"] <= 24
        places |= cells
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    for panel in panels(found):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in ("cps", "s", "short", "bytes")
        assert all(target["legendFormat"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert "<" not in target["expr"]
            for selector in re.findall(r"\{(.*?)\}", target["expr"]):
                assert re.match(r'namespace="here",job=', selector)


def test_the_dashboard_is_off_unless_it_is_asked_for() -> None:
    assert not [each for each in render() if "dashboard" in each["metadata"]["name"]]
