"""
The alerts of the chart as a table, read from its files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]

ALERTS: Final = Path(__file__).parents[1] / "charts" / "eventsvc" / "files" / "alerts"

#: The files, in the order of the guide.
_FILES: Final = ("producers", "consumers", "redis", "pods")


def alerts_table() -> str:
    """Return the alerts as a Markdown table."""
    lines = ["| alert | severity | it says | when |", "|---|---|---|---|"]
    for file in _FILES:
        for alert in yaml.safe_load((ALERTS / f"{file}.yaml").read_text(encoding="utf-8")):
            name = alert["alert"]
            when = f"for {alert['for']}" if "for" in alert else "at once"
            lines.append(f"| [{name}](#{name.lower()}) | {alert['severity']} | {alert['summary']} | {when} |")
    return "\n".join(lines) + "\n"
