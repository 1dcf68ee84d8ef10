"""
C{python -m chaos list | run [NAME...] | self-test}.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chaos.planted import BUGS
from chaos.report import write
from chaos.scenario import Run, Scenario, run
from chaos.scenarios import SCENARIOS
from chaos.toxics import NoToxiproxy, find_toxiproxy
from eventsvc.embedded import NoServer, find_server

#: Exit statuses: everything held; something did not; nothing could be run.
HELD: Final = 0
FAILED: Final = 1
SKIPPED: Final = 2

_BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


def main(arguments: Sequence[str]) -> int:
    """Do as the command line says; the exit status."""
    options = _parse(arguments)
    if options.command == "list":
        for scenario in SCENARIOS:
            print(f"{scenario.name:22} {scenario.what}")
        return HELD
    try:
        find_server()
        find_toxiproxy()
    except (NoServer, NoToxiproxy) as remedy:
        print(f"skipped, nothing was judged: {remedy}", file=sys.stderr)
        return SKIPPED
    _raise_file_limit()
    shutil.rmtree(options.report, ignore_errors=True)
    return _self_test(options) if options.command == "self-test" else _run(options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break eventsvc on purpose, and judge it.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the scenarios")
    running = commands.add_parser("run", help="run scenarios: those named, or all")
    running.add_argument("name", nargs="*", choices=[[], *_BY_NAME], metavar="NAME")
    running.add_argument("--repeat", type=int, default=1, metavar="N", help="run each N times, on N seeds")
    testing = commands.add_parser("self-test", help="run scenarios on services with planted bugs")
    for command in (running, testing):
        command.add_argument("--seed", type=int, metavar="N", help="of the load and of what is drawn by lot")
        command.add_argument(
            "--report", type=Path, default=Path("build/chaos"), metavar="DIR", help="default %(default)s"
        )
    options = parser.parse_args(arguments)
    if options.command != "list" and options.seed is None:
        options.seed = random.SystemRandom().randrange(1, 10_000)
    return options


def _run(options: argparse.Namespace) -> int:
    runs = []
    for name in options.name or _BY_NAME:
        for seed in range(options.seed, options.seed + options.repeat):
            done = _run_one(_BY_NAME[name], seed, options.report)
            print(f"{name:22} seed {seed}: {done.verdict.state} ({done.seconds:.0f} s)", flush=True)
            if not done.verdict.held:
                print(f"{done.verdict.describe()}\nagain: {done.command}", flush=True)
            runs.append(done)
            write(runs, options.report)
    held = sum(done.verdict.held for done in runs)
    print(f"{held} of {len(runs)} held; see {options.report / 'index.html'}")
    return HELD if held == len(runs) else FAILED


def _self_test(options: argparse.Namespace) -> int:
    runs = []
    missed = 0
    for name, bug in BUGS.items():
        done = _run_one(_BY_NAME[bug.scenario], options.seed, options.report, name)
        caught = bug.is_found(done.verdict)
        missed += not caught
        print(f"{name:28} {'caught' if caught else 'MISSED'} by {bug.scenario} ({done.seconds:.0f} s)")
        print(f"  {bug.what}\n  verdict: {' / '.join(done.verdict.describe().splitlines()[:2])}", flush=True)
        runs.append(done)
        write(runs, options.report)
    print(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs were caught; see {options.report / 'index.html'}")
    return FAILED if missed else HELD


def _run_one(scenario: Scenario, seed: int, report: Path, planted: str | None = None) -> Run:
    name = "-".join([scenario.name, str(seed), *([planted] if planted else [])])
    return run(scenario, seed, report / name, planted)


def _raise_file_limit() -> None:
    """Many requests wait at once, each on a connection of its own that passes a proxy."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
