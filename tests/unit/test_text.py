"""
Tests for L{eventsvc.text}.
"""

from __future__ import annotations

import pytest

from eventsvc.text import shorten


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("x" * 2_000, "x" * 2_000),
        ("x" * 2_001, "x" * 1_975 + " [cut, 2001 bytes in all]"),
        ("é" * 1_001, "é" * 987 + " [cut, 2002 bytes in all]"),
        ("half \ud800 a pair", "half \\ud800 a pair"),
        ("\ud800" * 1_000, "\\ud800" * 329 + "\\ [cut, 6000 bytes in all]"),
    ],
)
def test_a_text_is_cut_to_a_bounded_length_and_is_utf_8(text: str, short: str) -> None:
    """So a dead letter has a bounded size, whatever its handler raised."""
    assert shorten(text) == short
    assert len(shorten(text).encode()) <= 2_000
