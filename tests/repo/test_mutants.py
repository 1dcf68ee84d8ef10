"""
Tests for L{tools.mutants}.
"""

from __future__ import annotations

import pytest

pytest.importorskip("cosmic_ray", reason="make mutants installs it")
pytest.importorskip("tools", reason="the tools are beside the package, in the repository")

import attrs

from tools.mutants import PACKAGES, ROOT, Mutant, draw, judge, make_mutants

CODE = '''
"""Not to be changed: 1 < 2."""
def f(self, x):
    self.done()
    y = 1
    if x < 2:
        self.x = y
    return y
'''


def test_one_thing_is_changed_at_a_time_and_nothing_that_is_only_words() -> None:
    """A statement is removed if it has an effect; assigning a local name has none."""
    changes = {(mutant.was, mutant.becomes) for mutant in make_mutants("m.py", CODE)}
    assert ("self.done()", "pass") in changes
    assert ("self.x = y", "pass") in changes
    assert ("y = 1", "pass") not in changes
    assert ("if x < 2:", "if x <= 2:") in changes
    assert ("if x < 2:", "if not x < 2:") in changes
    assert {was for was, _ in changes} == {"self.done()", "y = 1", "if x < 2:", "self.x = y"}


def test_a_seed_draws_the_same_mutants() -> None:
    package = ["eventsvc/consumer/page.py", "eventsvc/redis/trouble.py"]
    assert set(package) <= {module for modules in PACKAGES.values() for module in modules}
    first = draw(package, "", 10, seed=1)
    assert first == draw(package, "", 10, seed=1) != draw(package, "", 10, seed=2)
    assert {mutant.module for mutant in first} == set(package)
    assert {mutant.module for mutant in draw(package, "eventsvc/redis", 10, seed=1)} == {package[1]}


def test_modules_and_tests_are_there() -> None:
    for package in PACKAGES.values():
        assert all((ROOT / module).exists() for module in package)
        assert all((ROOT / f"tests/unit/test_{name}.py").exists() for tests in package.values() for name in tests)


def test_nine_of_ten_must_be_killed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each survivor is reported, with its reason if one is recorded."""
    mutants = [Mutant("m.py", line, "x", "y", "") for line in range(10)]
    assert judge("p", mutants, [True] + 9 * [False])
    assert not judge("p", mutants, [True, True] + 8 * [False])
    assert not judge("p", mutants, [])
    said = capsys.readouterr().out
    assert "p: 9 killed, 1 survived (90% killed)\n" in said
    assert "no reason given" in said
    known = attrs.evolve(
        mutants[0],
        module="eventsvc/testing/history/stored.py",
        was="if place < furthest:",
        becomes="if place <= furthest:",
    )
    judge("p", [known], [True])
    assert "no two events have one place" in capsys.readouterr().out
