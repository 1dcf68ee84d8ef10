"""
Tests that each private name of Twisted that eventsvc uses is in the table of
C{docs/architecture.md}, and Twisted still has it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import twisted
from tests.unit.test_layers import MODULES, ROOT

#: Private names of others.
_NOT_TWISTEDS = {"_exit", "_asyncio_future_blocking"}

_ROW = re.compile(r"^\| `(_\w+)` \| `(twisted[\w.]*)` \| ([^|]+) \|", re.MULTILINE)


def read_table() -> dict[str, tuple[str, set[str]]]:
    """Return the names in the table, where Twisted defines each, and the modules that use it."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {name: (place, set(re.findall(r"`([\w/]+\.py)`", users))) for name, place, users in _ROW.findall(page)}


def private_attributes(tree: ast.AST) -> Iterator[tuple[bool, str]]:
    """Yield each attribute with one leading underscore, and whether it is on C{self}."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            yield isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"), node.attr


def defined(node: ast.ClassDef) -> Iterator[str]:
    """Return the names that the body of a class defines."""
    for each in node.body:
        match each:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                yield name


def inherited(module: str, tree: ast.Module) -> Iterator[str]:
    """Return the private names that a module's classes share with their Twisted bases, on purpose or not."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = getattr(getattr(import_module(module), node.name), "__mro__", ())
        sources = "".join([inspect.getsource(base) for base in bases if base.__module__.startswith("twisted.")])
        theirs = set(re.findall(r"self\.(_[a-zA-Z]\w*)|^    (_[a-zA-Z]\w*)", sources, re.MULTILINE))
        mine = {name for _, name in private_attributes(node)} | set(defined(node))
        yield from mine & {name for names in theirs for name in names}


def used() -> dict[str, set[str]]:
    """Return the used private names of Twisted, and the modules that use them."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
    ours = {name for tree in trees.values() for mine, name in private_attributes(tree) if mine}
    ours |= {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: dict[str, set[str]] = {}
    for module, tree in trees.items():
        names = {name for mine, name in private_attributes(tree) if not mine} - ours - _NOT_TWISTEDS
        names |= set(inherited(module, tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted"):
                names |= {alias.name for alias in node.names if alias.name.startswith("_")}
        for name in names:
            found.setdefault(name, set()).add(str(MODULES[module].relative_to(ROOT / "eventsvc")))
    return found


def test_the_table_names_every_private_name_of_twisted_that_is_used() -> None:
    """Names that may change without notice are listed in one place, with their users."""
    assert {name: users for name, (_, users) in read_table().items()} == used()


def test_twisted_has_every_name_in_the_table() -> None:
    """This test finds a version of Twisted without one, before a client does."""
    package = Path(twisted.__file__).parent.parent
    for name, (place, _) in read_table().items():
        source = (package / place.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"\b{name}\b", source), f"{place} has no {name}"
