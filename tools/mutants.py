"""
Measures which faults the unit tests detect: C{python -m tools.mutants [PATH]}.

Changes one thing in one module at a time, with the operators of Cosmic Ray,
and runs the unit tests of that module.  A change that fails no test has
I{survived}.  A package has too many possible changes to try all, so a random
sample is tried.

The changes are made in copies of the repository, not in the working tree.
Exits with 1 if a package is below the floor.
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
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import attrs
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.number_replacer import NumberReplacer
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import ExprStmt, Keyword, PythonNode

ROOT: Final = Path(__file__).parents[1]
#: Reasons why changes that survive are harmless.
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
#: Numbers from this one on are limits of size or time, where one more or less makes no difference.
_LARGE: Final = 20
#: Seconds after which tests that were not measured yet count as hanging.
_PATIENCE: Final = 300.0
#: Declarations of attrs classes are not mutated, because they are not behaviour.
_DECLARATIONS: Final = ("init=False", "@attrs.")
#: The share of changes that the tests must detect.
FLOOR: Final = 0.9
_NEVER_COPIED: Final = (".git", ".venv", ".tox", "build", "dist", "__pycache__", "*.egg-info", ".mypy_cache")


#: The modules of each package, and the unit tests that must detect changes in
#: them, fastest first: names of test modules without C{test_}.
PACKAGES: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "producer": {
        "eventsvc/producer/appender.py": (
            "appender",
            "appender_figures",
            "appender_keys",
            "appender_refusals",
            "repair",
            "appender_machine",
        ),
        "eventsvc/producer/backlog.py": ("backlog", "appender", "turns", "appender_machine"),
        "eventsvc/producer/retained.py": ("repair", "appender_machine"),
        "eventsvc/producer/repair.py": ("repair", "appender", "appender_machine"),
        "eventsvc/producer/sequence.py": ("sequence", "appender_keys"),
    },
    "consumer": {
        "eventsvc/consumer/acknowledgements.py": ("consumer_reads", "consumer_rounds", "consumer"),
        "eventsvc/consumer/service.py": (
            "consumer_reads",
            "in_flight",
            "slices",
            "setting_aside",
            "consumer_rounds",
            "recovery",
            "consumer",
            "consumer_faults",
        ),
        "eventsvc/consumer/delivery.py": ("delivery", "delivery_attempts", "consumer"),
        "eventsvc/consumer/delivery_attempts.py": (
            "delivery_attempts",
            "bound_handler",
            "breaker",
            "in_flight",
            "consumer",
        ),
        "eventsvc/consumer/batch.py": ("batch", "breaker", "bound_handler"),
        "eventsvc/consumer/bound_handler.py": ("bound_handler", "batch"),
        "eventsvc/consumer/breaker.py": ("breaker",),
        "eventsvc/consumer/handler_call.py": ("handler_call", "delivery_attempts", "bound_handler"),
        "eventsvc/consumer/handler_lifecycle.py": ("bound_handler",),
        "eventsvc/consumer/key_order.py": ("key_order", "breaker"),
        "eventsvc/consumer/line.py": ("key_order", "breaker", "batch", "in_flight"),
        "eventsvc/consumer/dispatch.py": (
            "in_flight",
            "delivery_attempts",
            "slices",
            "batch",
            "key_order",
            "breaker",
            "setting_aside",
            "bound_handler",
            "consumer_rounds",
            "consumer",
        ),
        "eventsvc/consumer/in_flight.py": ("in_flight", "key_order", "setting_aside", "consumer_reads", "consumer"),
        "eventsvc/consumer/open_entries.py": (
            "in_flight",
            "setting_aside",
            "consumer_reads",
            "recovery",
            "consumer",
            "consumer_failover",
            "consumer_failover_model",
        ),
        "eventsvc/telemetry/log_output.py": ("log_output",),
        "eventsvc/consumer/recent.py": ("recent", "consumer_failover", "consumer_failover_model"),
        "eventsvc/consumer/page.py": ("page", "recovery", "consumer_rounds"),
        "eventsvc/consumer/recovery.py": (
            "recovery",
            "consumer_reads",
            "consumer_rounds",
            "consumer",
            "consumer_failover",
            "consumer_failover_model",
        ),
        "eventsvc/consumer/retention.py": ("retention",),
        "eventsvc/consumer/setting_aside.py": ("setting_aside", "in_flight", "delivery_attempts", "consumer"),
    },
    "webhook": {
        "eventsvc/net/public_address.py": ("public_address",),
        "eventsvc/net/public_endpoint.py": ("public_endpoint", "webhook"),
        "eventsvc/handlers/webhook.py": ("webhook", "webhook_connections"),
        "eventsvc/handlers/webhook_answer.py": ("webhook_answer",),
        "eventsvc/handlers/webhook_connections.py": ("webhook_connections", "webhook", "webhook_tls"),
        "eventsvc/handlers/webhook_message.py": ("webhook_message",),
    },
    "redis": {
        "eventsvc/redis/connection.py": ("connection", "handshake", "redis_errors", "connection_real"),
        "eventsvc/redis/errors.py": ("redis_errors", "session", "connection"),
        "eventsvc/redis/group.py": ("group_calls", "group", "trim"),
        "eventsvc/redis/log.py": ("log_calls", "log", "rights"),
        "eventsvc/redis/primary_choice.py": ("primary_choice", "sentinels"),
        "eventsvc/redis/promotion.py": ("promotion",),
        "eventsvc/redis/sentinels.py": ("sentinels", "switches", "promotion"),
        "eventsvc/redis/session.py": ("session", "silence", "handshake", "connection", "connection_real"),
        "eventsvc/redis/silence.py": ("silence", "session"),
        "eventsvc/redis/subscription.py": ("switches",),
        "eventsvc/redis/switches.py": ("switches", "sentinels", "promotion"),
        "eventsvc/redis/trouble.py": ("connection", "handshake"),
    },
    "history": {
        "eventsvc/testing/history/__init__.py": ("history", "history_handling"),
        "eventsvc/testing/history/checks.py": ("history", "history_handling"),
        "eventsvc/testing/history/stored.py": ("history",),
        "eventsvc/testing/history/records.py": ("history", "history_handling"),
    },
}


class DeleteStatement(Operator):  # type: ignore[misc]
    """Remove a statement: a call, or an assignment to an attribute."""

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


class ReplaceSmallNumber(NumberReplacer):  # type: ignore[misc]
    """Replace a small number by its neighbour."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "number" and literal_eval(node.value) < _LARGE:
            yield from super().mutation_positions(node)


def _does_something(statement: Any) -> bool:
    """Return whether a statement is a call or an assignment to an attribute or item."""
    if isinstance(statement, ExprStmt):
        target = statement.children[0]
        return bool(target.type == "atom_expr" and statement.children[1].type != "annassign")
    return isinstance(statement, PythonNode) and statement.type == "atom_expr"


#: The replacements of a comparison: its opposite and its neighbour.
_COMPARISONS: Final = ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt")
_ARITHMETIC: Final = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")
_OTHERS: Final = (
    *("AddNot", "ExceptionReplacer", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceFalseWithTrue", "ReplaceTrueWithFalse"),
    *("ReplaceUnaryOperator_Delete_Not", "ZeroIterationForLoop"),
)
OPERATORS: Final[Sequence[Operator]] = (
    *(get_operator(f"core/ReplaceComparisonOperator_{name}")() for name in _COMPARISONS),
    *(get_operator(f"core/ReplaceBinaryOperator_{name}")() for name in _ARITHMETIC),
    *(get_operator(f"core/{name}")() for name in _OTHERS),
    DeleteStatement(),
    ReplaceSmallNumber(),
)


@attrs.frozen
class Mutant:
    """
    One change of one module.

    @ivar was: the lines before the change, without indentation.
    @ivar becomes: the lines after the change, without indentation.
    """

    module: str
    line: int
    was: str
    becomes: str
    code: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.module}:{self.line}\n    - {self.was}\n    + {self.becomes}"


def make_mutants(module: str, code: str) -> Iterator[Mutant]:
    """Yield each possible change of a module once, even if two operators make it."""
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


def draw(package: Iterable[str], only: str, most: int, seed: int) -> Sequence[Mutant]:
    """Return at most C{most} mutants of the modules whose path begins with C{only}."""
    modules = [module for module in package if module.startswith(only)]
    mutants = [mutant for module in modules for mutant in make_mutants(module, (ROOT / module).read_text())]
    return random.Random(seed).sample(mutants, min(most, len(mutants)))


class Unfit(Exception):
    """The tests cannot be measured; the text says why."""


@attrs.define
class Bench:
    """A copy of the repository in which tests run."""

    directory: Path

    def passes(self, tests: Sequence[str], patience: float = _PATIENCE) -> bool:
        """Return whether all tests pass within C{patience} seconds."""
        names = [f"tests/unit/test_{name}.py" for name in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *names]
        # Byte code is identified by time in seconds and size, which two mutants may share.
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ended = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, timeout=patience)
        except subprocess.TimeoutExpired:
            return False
        return ended.returncode == 0

    def survives(self, mutant: Mutant, tests: Sequence[str], patience: float) -> bool:
        """Return whether no test detects a change."""
        path = self.directory / mutant.module
        before = path.read_text()
        path.write_text(mutant.code)
        try:
            return self.passes(tests, patience)
        finally:
            path.write_text(before)


def try_all(
    mutants: Sequence[Mutant], package: Mapping[str, Sequence[str]], benches: Sequence[Bench], until: float
) -> Iterator[bool]:
    """
    Yield whether each mutant survives, until time is up.

    @raise Unfit: tests fail without any change.
    """
    usual: dict[str, float] = {}
    for module in {mutant.module: None for mutant in mutants}:
        begin = time.monotonic()
        if not benches[0].passes(package[module]):
            raise Unfit(f"the tests of {module} fail without any change")
        usual[module] = time.monotonic() - begin
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def attempt(mutant: Mutant) -> bool | None:
        if time.monotonic() > until:
            return None
        bench = free.get()
        try:
            return bench.survives(mutant, package[mutant.module], 5 + 3 * usual[mutant.module])
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as workers:
        for survived in workers.map(attempt, mutants):
            if survived is None:
                return
            yield survived


def judge(name: str, mutants: Sequence[Mutant], survived: Sequence[bool]) -> bool:
    """Print the results of a package, and return whether enough mutants were killed."""
    reasons = {
        (each["module"], each["was"], each["becomes"]): each["reason"]
        for each in tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    }
    for mutant, lives in zip(mutants, survived):
        if lives:
            print(f"survived: {mutant}")
            print(f"    {reasons.get((mutant.module, mutant.was, mutant.becomes), 'no reason given')}")
    killed = len(survived) - sum(survived)
    share = killed / len(survived) if survived else 0.0
    late = f", {len(mutants) - len(survived)} not tried, time is up" if len(survived) < len(mutants) else ""
    print(f"{name}: {killed} killed, {sum(survived)} survived ({share:.0%} killed){late}", flush=True)
    return share >= FLOOR


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants", description="Measure which changes of the code the unit tests detect."
    )
    parser.add_argument("only", nargs="?", default="", metavar="PATH", help="only modules whose path begins with PATH")
    parser.add_argument(
        "--most", type=int, default=60, metavar="N", help="most changes per package; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the sample; default %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=10, metavar="N", help="time limit per package; default %(default)s"
    )
    parser.add_argument(
        "--side-by-side", type=int, default=2, metavar="N", help="number of parallel test runs; default %(default)s"
    )
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
            until = time.monotonic() + 60 * options.minutes
            try:
                survived = list(try_all(mutants, package, benches, until))
            except Unfit as problem:
                print(f"{name}: {problem}", file=sys.stderr)
                return 1
            enough &= judge(name, mutants, survived)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
