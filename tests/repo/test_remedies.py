"""
What the dashboard says of an alarm is what the docs say.
"""

from __future__ import annotations

import re

from tests.support.helm import ROOT
from tools import remedies


def test_the_remedies_are_those_of_the_docs() -> None:
    assert remedies.TARGET.read_text(encoding="utf-8") == remedies.make(), "run python -m tools.remedies"


def test_each_alarm_has_a_remedy() -> None:
    source = (ROOT / "eventsvc" / "dashboard" / "alarms.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"([A-Z][A-Za-z]+[a-z])"', source)) - {"L"}
    found = remedies.read_remedies("operations.md", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    ours = remedies.read_remedies("dashboard.md", (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8"))
    assert names <= found.keys() | ours.keys()
    assert len(names) > 10
    for name in names:
        remedy = {**found, **ours}[name]
        assert remedy["says"], name
        assert remedy["look"], name


def test_markdown_becomes_plain_text() -> None:
    page = "### AlarmOne\n\nIt [fails](a.md#b)\n**now**.\n\nMore.\n\n- **Look**: `a`\n  b.\n- **Type**: c.\n\n## N\n"
    assert remedies.read_remedies("x.md", page) == {
        "AlarmOne": {"says": "It fails now.", "look": "`a` b.", "type": "c.", "where": "docs/x.md#alarmone"}
    }
