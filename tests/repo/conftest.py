"""
What the tests of the chart share.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from tests.support.helm import CHART


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
