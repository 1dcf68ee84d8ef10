"""
Measure what the unit tests notice: C{python -m tools.mutants [PATH]}.

Changes one thing in one module at a time, with the operators of Cosmic Ray,
and runs the unit tests of that module.  A change that fails no test has
I{survived}.  All changes of a package are too many, so a seed draws some.

Works in copies of the repository, so the working tree stays as it is.  Ends
with 1 if a package is below the floor.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import attrs
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import ExprStmt, Keyword, PythonNode

ROOT: Final = Path(__file__).parents[1]
#: Why changes that survive do no harm.
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
#: How a class is declared is no behaviour: whether a constructor takes a member.
_DECLARATIONS: Final = ("init=False", "@attrs.")
#: The share of changes that tests must notice.
FLOOR: Final = 0.9
_NEVER_COPIED: Final = (".git", ".venv", ".tox", "build", "dist", "__pycache__", "*.egg-info", ".mypy_cache")


@attrs.frozen
class Package:
    """
    Modules, and the unit tests that must notice what is changed in them.

    @ivar tests: names of test modules, without C{test_}.
    """

    modules: Sequence[str]
    tests: Sequence[str]


PACKAGES: Final[Mapping[str, Package]] = {
    "producer": Package(
        ["eventsvc/appender.py", "eventsvc/backlog.py"],
        ["appender", "appender_keys", "appender_forgetting", "backlog", "appender_machine"],
    ),
    "consumer": Package(
        [
            f"eventsvc/{name}.py"
            for name in (
                *("consumer", "recovery", "in_hand", "handler_call", "setting_aside"),
                *("log_output", "delivery", "page", "retention"),
            )
        ],
        [
            *("delivery", "consumer", "in_hand", "handler_call", "log_output"),
            *("retention", "consumer_faults"),
        ],
    ),
    "redis": Package(
        [f"eventsvc/redis/{name}.py" for name in ("session", "silence", "errors", "connection", "group", "log")],
        "session silence redis_errors connection handshake group log framing dead connection_real".split(),
    ),
    "history": Package(
        [f"eventsvc/history/{name}.py" for name in ("__init__", "promises", "seen")],
        ["history", "history_handling"],
    ),
}


class DeleteStatement(Operator):  # type: ignore[misc]
    """Leave out a statement: a call, or an assignment to a member."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "simple_stmt" and _does_something(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.children[0]
        node.children[0] = Keyword("pass", first.start_pos, first.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> Sequence[Any]:
        return ()


def _does_something(statement: Any) -> bool:
    """Whether it is a call, or changes something that outlives the function."""
    if isinstance(statement, ExprStmt):
        target = statement.children[0]
        return bool(target.type == "atom_expr" and statement.children[1].type != "annassign")
    return isinstance(statement, PythonNode) and statement.type == "atom_expr"


#: What a comparison is replaced by: its opposite, and its neighbour.
_COMPARISONS: Final = ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt")
_ARITHMETIC: Final = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")
_OTHERS: Final = (
    *("AddNot", "ExceptionReplacer", "NumberReplacer", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceFalseWithTrue", "ReplaceTrueWithFalse"),
    *("ReplaceUnaryOperator_Delete_Not", "ZeroIterationForLoop"),
)
OPERATORS: Final[Sequence[Operator]] = (
    *(get_operator(f"core/ReplaceComparisonOperator_{name}")() for name in _COMPARISONS),
    *(get_operator(f"core/ReplaceBinaryOperator_{name}")() for name in _ARITHMETIC),
    *(get_operator(f"core/{name}")() for name in _OTHERS),
    DeleteStatement(),
)


@attrs.frozen
class Mutant:
    """
    One change of one module.

    @ivar was: the lines that were changed, without indentation; C{becomes} is
        what they are changed to.
    """

    module: str
    line: int
    was: str
    becomes: str
    code: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.module}:{self.line}\n    - {self.was}\n    + {self.becomes}"


def make_mutants(module: str, code: str) -> Iterator[Mutant]:
    """Yield each change of a module once, even if two operators make it."""
    seen = {code}
    for operator in OPERATORS:
        for occurrence in range(len(list(_positions(get_ast(code), operator)))):
            changed = mutate_code(code, operator, occurrence)
            if changed is not None and changed not in seen:
                seen.add(changed)
                mutant = _compare(module, code, changed)
                if not any(words in mutant.was for words in _DECLARATIONS):
                    yield mutant


def _positions(node: Any, operator: Operator) -> Iterator[Any]:
    yield from operator.mutation_positions(node)
    for child in getattr(node, "children", ()):
        yield from _positions(child, operator)


def _compare(module: str, code: str, changed: str) -> Mutant:
    before, after = code.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    _, begin, end, new_begin, new_end = next(block for block in blocks if block[0] != "equal")

    def join(lines: Sequence[str]) -> str:
        return " ".join(line.strip() for line in lines)

    return Mutant(module, begin + 1, join(before[begin:end]), join(after[new_begin:new_end]), changed)


def draw(package: Package, only: str, most: int, seed: int) -> Sequence[Mutant]:
    """Return at most so many mutants of the modules whose path begins with C{only}."""
    modules = [module for module in package.modules if module.startswith(only)]
    mutants = [mutant for module in modules for mutant in make_mutants(module, (ROOT / module).read_text())]
    chosen = random.Random(seed).sample(mutants, min(most, len(mutants)))
    return sorted(chosen, key=lambda mutant: (mutant.module, mutant.line))


@attrs.define
class Bench:
    """
    A copy of the repository in which tests run.

    @ivar patience: seconds after which tests that hang have noticed.
    """

    directory: Path
    patience: float = 300.0

    def passes(self, tests: Sequence[str]) -> bool:
        """Return whether all tests pass."""
        names = [f"eventsvc/test/test_{name}.py" for name in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *names]
        # Byte code is known by its second and size, which two mutants may share.
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ended = subprocess.run(
                command, cwd=self.directory, env=environment, capture_output=True, timeout=self.patience
            )
        except subprocess.TimeoutExpired:
            return False
        return ended.returncode == 0

    def survives(self, mutant: Mutant, tests: Sequence[str]) -> bool:
        """Return whether no test notices a change."""
        path = self.directory / mutant.module
        before = path.read_text()
        path.write_text(mutant.code)
        try:
            return self.passes(tests)
        finally:
            path.write_text(before)


def try_all(mutants: Sequence[Mutant], tests: Sequence[str], benches: Sequence[Bench], until: float) -> Iterator[bool]:
    """Yield whether each mutant survives; those for which there is no more time are left out."""
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def attempt(mutant: Mutant) -> bool | None:
        if time.monotonic() > until:
            return None
        bench = free.get()
        try:
            return bench.survives(mutant, tests)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as workers:
        for survived in workers.map(attempt, mutants):
            if survived is None:
                return
            yield survived


def judge(name: str, mutants: Sequence[Mutant], survived: Sequence[bool]) -> bool:
    """Tell what became of the mutants of a package; say if enough were killed."""
    reasons = {
        (each["module"], each["was"], each["becomes"]): each["reason"]
        for each in tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    }
    for mutant, lives in zip(mutants, survived):
        if lives:
            print(f"survived: {mutant}")
            print(f"    {reasons.get((mutant.module, mutant.was, mutant.becomes), 'no reason is given')}")
    killed = len(survived) - sum(survived)
    share = killed / len(survived) if survived else 0.0
    late = f", {len(mutants) - len(survived)} not tried for want of time" if len(survived) < len(mutants) else ""
    print(f"{name}: {killed} killed, {sum(survived)} survived ({share:.0%} killed){late}", flush=True)
    return share >= FLOOR


def main(arguments: Sequence[str]) -> int:
    """Do as the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description="Measure what the unit tests notice.")
    parser.add_argument("only", nargs="?", default="", metavar="PATH", help="only modules whose path begins so")
    parser.add_argument("--most", type=int, default=60, metavar="N", help="of a package; default %(default)s")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="draws them; default %(default)s")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="for a package; default %(default)s")
    parser.add_argument("--side-by-side", type=int, default=2, metavar="N", help="tests; default %(default)s")
    options = parser.parse_args(arguments)

    enough = True
    with tempfile.TemporaryDirectory(prefix="eventsvc-mutants-") as place:
        benches = [Bench(Path(place) / str(number)) for number in range(options.side_by_side)]
        for bench in benches:
            shutil.copytree(ROOT, bench.directory, ignore=shutil.ignore_patterns(*_NEVER_COPIED))
        for name, package in PACKAGES.items():
            mutants = draw(package, options.only, options.most, options.seed)
            if not mutants:
                continue
            begin = time.monotonic()
            if not benches[0].passes(package.tests):
                print(f"{name}: its tests fail without any change", file=sys.stderr)
                return 1
            for bench in benches:
                bench.patience = 10 + 5 * (time.monotonic() - begin)
            until = time.monotonic() + 60 * options.minutes
            enough &= judge(name, mutants, list(try_all(mutants, package.tests, benches, until)))
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
