"""
Makes what the dashboard says of each alarm from the pages that say what to do.

C{python -m tools.remedies} writes the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("operations.md", "dashboard.md")
TARGET: Final = ROOT / "eventsvc" / "web" / "pages" / "remedies.json"


def plain(text: str) -> str:
    """Return Markdown as one line without links; code keeps its backticks."""
    text = re.sub(r" \(\[more\]\([^)]*\)\)", "", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text).replace("**", "")
    return " ".join(text.split())


def read_remedies(page: str, text: str) -> Mapping[str, Mapping[str, str]]:
    """Return what each section of alarms says: its first paragraph, where to look and what to type."""
    found = {}
    for name, section in re.findall(r"^### ([A-Z]\w+)$\n(.*?)(?=^##|\Z)", text, re.M | re.S):
        says = section.strip().partition("\n\n")[0]
        bullets = dict(
            re.findall(r"^- \*\*(\w+)\*\*(?:, \*\*type\*\*)?:? (.*?)(?=^- |^\||\n\n|\Z)", section, re.M | re.S)
        )
        found[name] = {
            "says": plain(says),
            "look": plain(bullets.get("Look", "")),
            "type": plain(bullets.get("Type", "")),
            "where": f"docs/{page}#{name.lower()}",
        }
    return found


def make() -> str:
    """Return the text of the file."""
    found: dict[str, Mapping[str, str]] = {}
    for page in PAGES:
        found |= read_remedies(page, (ROOT / "docs" / page).read_text(encoding="utf-8"))
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(make(), encoding="utf-8")
