"""
The table of the chart's values, from the comments in C{values.yaml}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import yaml  # type: ignore[import-untyped]

VALUES: Final = Path(__file__).parent.parent / "charts" / "eventsvc" / "values.yaml"

#: Values that are shown whole: their members are those of Kubernetes or of the services.
_WHOLE: Final = {"settings", "resources", "podSecurityContext", "securityContext", "behavior", "dns"}

_NAME: Final = re.compile(r"( *)(\w+):")


@attrs.frozen
class Value:
    """
    A value of the chart.

    @ivar path: its name, with dots.
    @ivar default: as JSON.
    @ivar text: the comment above it, in one line.
    """

    path: str
    default: str
    text: str


def _comments(text: str) -> dict[str, str]:
    """Return the comment above each name, by its path."""
    found: dict[str, str] = {}
    at: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            comment.append(bare.removeprefix("#").strip())
        elif not bare:
            comment = []
        elif name := _NAME.match(line):
            depth = len(name[1])
            at = [(column, above) for column, above in at if column < depth] + [(depth, name[2])]
            found[".".join(above for _, above in at)] = " ".join(comment)
            comment = []
    return found


def _leaves(values: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in values.items():
        if isinstance(below, dict) and below and name not in _WHOLE:
            yield f"{at}{name}", None
            yield from _leaves(below, f"{at}{name}.")
        else:
            yield f"{at}{name}", below


def values(text: str) -> Iterator[Value]:
    """Yield the values in their order, each part of the chart before its values, with an empty default."""
    comments = _comments(text)
    for path, default in _leaves(yaml.safe_load(text)):
        shown = "" if default is None else json.dumps(default, ensure_ascii=False)
        yield Value(path, shown, comments.get(path, ""))


def values_table() -> str:
    """Return the values as a Markdown table."""
    lines = ["| value | default | what for |", "|---|---|---|"]
    for value in values(VALUES.read_text(encoding="utf-8")):
        name, default = (f"`{value.path}`", f"`{value.default}`") if value.default else (f"**`{value.path}`**", "")
        lines.append("| " + " | ".join(_escape(cell) for cell in (name, default, value.text)) + " |")
    return "\n".join(lines) + "\n"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")
