"""
What the tests of the chart share.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from tests.support.helm import CHART


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run each file about the chart in one worker: its tests share what helm has rendered, and what promtool said."""
    for item in items:
        if item.path.stem == "test_alerts" or item.path.stem.startswith("test_chart"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a chart that finds in the cluster what is in the value C{global.found}: objects by kind and name."""
    chart = copytree(CHART, tmp_path_factory.mktemp("found") / "eventsvc")
    (chart / "templates" / "_found.tpl").write_text(
        '{{ define "eventsvc.found" }}'
        '{{ dig "found" (index . 2) (index . 3) dict (index . 0).Values.global | toJson }}'
        "{{ end }}"
    )
    return chart
