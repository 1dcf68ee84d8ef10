"""
Limits the length of modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Lines that a module may have, by directory.
MOST = {"eventsvc": 300, "tests": 500}


def modules(directory: str) -> Iterator[tuple[str, int]]:
    """Yield each module below a directory, with its number of lines."""
    for path in sorted((ROOT / directory).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(("directory", "most"), MOST.items())
def test_no_module_is_too_long(directory: str, most: int) -> None:
    """Split a module that is too long by subject."""
    assert {name: lines for name, lines in modules(directory) if lines > most} == {}
