"""
Tests for the bugs that are planted in the simulation.
"""

from __future__ import annotations

from typing import Any

import pytest

from chaos import planted as chaos
from eventsvc.producer.appender import Appender
from simulation.planted import BUGS, NOT_SHOWN, Bug, _places, planted


def names() -> dict[int, dict[str, Any]]:
    return {id(place): dict(vars(place)) for place in _places()}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_planted_and_undone(name: str) -> None:
    """They change names and texts of the code, which may be gone."""
    with planted(name) as bug:
        assert bug.what.endswith(".")
        during = names()
    after = names()
    changed = {
        each
        for place, content in during.items()
        for each in content.keys() | after.get(place, {}).keys()
        if content.get(each) is not after.get(place, {}).get(each)
    }
    assert changed
    with planted(name):
        again = names()
    assert {place: content.keys() for place, content in again.items()} == {
        place: content.keys() for place, content in during.items()
    }


def test_no_bug_of_the_chaos_suite_is_forgotten() -> None:
    shown = {name for name in chaos.BUGS if name in BUGS}
    assert shown | NOT_SHOWN.keys() == set(chaos.BUGS)
    assert not shown & NOT_SHOWN.keys()


def test_a_name_that_a_bug_adds_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    def plant() -> None:
        Appender.added = 1  # type: ignore[attr-defined]

    monkeypatch.setitem(BUGS, "another", Bug(plant, ()))
    with planted("another"):
        assert hasattr(Appender, "added")
    assert not hasattr(Appender, "added")
