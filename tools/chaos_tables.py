"""
The faults and signs of the chaos suite as tables, read from its source.

The source is parsed, not imported, because the suite needs packages that the
docs do not need.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

CHAOS: Final = Path(__file__).parents[1] / "chaos"

_IVAR: Final = re.compile(r"^@ivar (\w+): (.*)$", re.S)


def faults_table() -> str:
    """Return the faults that a scenario can use, as a Markdown table."""
    return _table("fault", ["faults.py", "failovers.py", "setbacks.py", "environment.py", "gateway.py"])


def signs_table() -> str:
    """Return the signs that a scenario can use, as a Markdown table."""
    return _table("sign", ["signs.py"])


def _table(head: str, files: Sequence[str]) -> str:
    lines = [f"| {head} | what it is |", "|---|---|"]
    for file in files:
        for cls in _classes(ast.parse((CHAOS / file).read_text(encoding="utf-8"))):
            lines.append(f"| `{cls.name}({', '.join(_fields(cls))})` | {_meaning(cls)} |")
    return "\n".join(lines) + "\n"


def _classes(module: ast.Module) -> Iterator[ast.ClassDef]:
    """Yield the classes that scenarios can use: neither protocols nor private ones."""
    for each in module.body:
        if isinstance(each, ast.ClassDef) and not each.bases and not each.name.startswith("_"):
            yield each


def _fields(cls: ast.ClassDef) -> Iterator[str]:
    for each in cls.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id + (f"={ast.unparse(each.value)}" if each.value is not None else "")


def _meaning(cls: ast.ClassDef) -> str:
    """Return a docstring in one line, with the descriptions of fields at the end."""
    about, fields = [], []
    for paragraph in re.split(r"\n\n|\n(?=@)", ast.get_docstring(cls) or ""):
        words = re.sub(r"C\{([^}]*)\}", r"`\1`", " ".join(paragraph.split()))
        field = _IVAR.match(words)
        if field:
            fields.append(f"`{field[1]}`: {field[2]}")
        else:
            about.append(words)
    return " ".join([*about, *fields])
